"""`python -m MODULE ARGUMENTS...` by a fork of a server: the first argument is its socket, the second is `-m`.

For whoever started it, it is the program: a signal to it reaches the fork, and it ends as the fork does. Where there is
no server with its environment, it becomes a real Python.
"""

import json
import os
import signal
import socket
import sys
from typing import NoReturn


def ask(path: str, module: str, arguments: list[str]) -> int | None:
    """Have a module run, and return its exit status, negative for a signal; None: it was not run."""
    umask = os.umask(0)
    os.umask(umask)
    request = {"module": module, "arguments": arguments, "folder": os.getcwd(), "umask": umask}
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        try:
            server.connect(path)
            socket.send_fds(server, [json.dumps({**request, "environment": dict(os.environ)}).encode()], [0, 1, 2])
        except OSError:  # no such server, or a request that is too long
            return None
        child = int(server.recv(16) or 0)
        if not child:
            return None
        for passed_on in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(passed_on, lambda number, _: os.kill(child, number))
        return int(server.recv(16) or 1)


def main(path: str, *arguments: str) -> NoReturn:
    """Run, and end as what was run."""
    status = ask(path, arguments[1], list(arguments[2:])) if arguments[0] == "-m" else None
    if status is None:
        os.execv(sys.executable, [sys.executable, *arguments])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)


if __name__ == "__main__":
    main(*sys.argv[1:])
