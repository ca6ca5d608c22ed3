"""Dry runs by a process that has imported Snakemake: each line it reads is one, in a fork. The imports are half of one.

The process imports nothing of the project, of which each test has a copy of its own.
"""

import json
import os
import sys
from typing import Any, NoReturn

from snakemake.cli import get_argument_parser, main


def run(request: dict[str, Any]) -> NoReturn:
    """Be the Snakemake of a folder, with its own environment and files for what it prints, and end."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for stream, path in ((1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    sys.path[0] = request["folder"]
    sys.argv = ["snakemake", "--dry-run", *request["arguments"]]
    code: Any = 1
    try:
        main()
    except SystemExit as error:
        code = error.code
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


def serve() -> None:
    """Run a dry run for each line of the input, and print its exit status."""
    get_argument_parser()  # imports every plugin
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            run(json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
