"""A Python that has imported libraries, and becomes in a fork what a client asks for: importing is most of a short job.

Its arguments are its socket and the modules to import: none of the project, of which each test has a copy. A fork is
like a fresh Python. It has its client's folder, environment, arguments and streams; it ends as any Python does; it dies
with its client. All end with the process that started the server, whose end they read from their input.
"""

import atexit
import gc
import importlib
import json
import os
import re
import runpy
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

OF_NO_IMPORT = re.compile(
    "(OLD)?PWD$|PATH$|SHLVL$|_$|BASH_ENV$|FORKS$|TE?MP(DIR)?$|PYTEST|MAKE|MFLAGS$|STUDY$|PROFILE$|GPU$|ARGS$|REWARD_"
    "|_RJEM_MALLOC_CONF$"  # polars sets it, again each time that it is imported
)
LARGEST = 1 << 20
"""Bytes of a request."""

Request = dict[str, Any]


def serve(listener: socket.socket, modules: list[str]) -> Request:
    """Fork for every client; return in the fork that is to run its request."""
    os.setsid()  # what is typed at the tests is not meant for it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that keep a client
    given = read_by_imports(os.environ)
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # what is there stays, and no fork needs to look at it
    atexit.register(gc.unfreeze)  # but at the end, when all is tidied up
    while sys.stdin not in select.select([sys.stdin, listener], [], [])[0]:
        client, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            return keep(client, given)
        client.close()
    sys.exit()


def keep(client: socket.socket, given: dict[str, str]) -> Request:
    """Fork for the request, and tell the client the number of the process and how it ended; return in that process.

    A client hears nothing whose environment differs from what was `given` for the imports.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(client, LARGEST, 3)
    request = json.loads(message or "{}")
    if not message or read_by_imports(request["environment"]) != given:
        os._exit(0)
    child = os.fork()
    if child == 0:
        client.close()
        become(request, streams)
        return request
    client.send(str(child).encode())
    ended = os.pidfd_open(child)
    if ended not in select.select([ended, client, sys.stdin], [], [])[0]:  # the client was killed, or the tests ended
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with suppress(OSError):
        client.send(str(status).encode())
    os._exit(0)


def read_by_imports(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out the variables that no library reads when it is imported."""
    return {key: value for key, value in environment.items() if not OF_NO_IMPORT.match(key)}


def become(request: Request, streams: list[int]) -> None:
    """Take over what a process has from the one that starts it."""
    os.setsid()
    os.umask(request["umask"])
    os.chdir(request["folder"])
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]
    sys.path[0] = request["folder"]
    tempfile.tempdir = None  # another environment, another folder
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # as Python's own generator is seeded in a fork


if __name__ == "__main__":
    asked = serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:])
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
