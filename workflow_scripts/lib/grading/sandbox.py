"""A sandbox for programs that nobody has read: bubblewrap around a separate Python, with limits on all resources.

Programs have no network, no files except a read-only system and an empty /tmp, no environment, and see no other
process. Before the first program runs, a test checks that this is true on this machine.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading import sandbox_inside

INSIDE = Path(sandbox_inside.__file__)
MEBIBYTE = 2**20


@dataclass(frozen=True)
class Limits:
    """Limits of one program. That on wall-clock time is for programs that sleep, and wide because machines are busy."""

    cpu_seconds: int = 10
    memory_bytes: int = 1024 * MEBIBYTE
    file_bytes: int = 64 * MEBIBYTE
    processes: int = 32

    @property
    def wall_seconds(self) -> float:
        """Limit on wall-clock time in seconds."""
        return 20 + 4 * self.cpu_seconds


@dataclass(frozen=True)
class Outcome:
    """`done` with the (encoded) result of each call, `timeout`, or `failed`: no answer, or an unreadable one."""

    status: Literal["done", "timeout", "failed"]
    given: list[Any]
    cpu_seconds: float = 0.0


def bubblewrap() -> list[str]:
    """Build the command line that runs a Python inside the sandbox, up to that Python's own arguments.

    Raises:
        UserError: bubblewrap is not installed.
    """
    tool = shutil.which("bwrap")
    if tool is None:
        raise UserError(
            "grading of code requires bubblewrap (bwrap), which is not installed: install it, or set "
            "grading.allow_unsandboxed to true if you trust every program that the model may write"
        )
    command = [tool, "--die-with-parent", "--new-session", "--clearenv", "--chdir", "/"]
    command += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--cap-drop", "ALL"]
    if os.getuid() == 0:  # without a user namespace; the program becomes nobody instead (`sandbox_inside.confine`)
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user"]
    command += ["--ro-bind", "/usr", "/usr"]
    for folder in ("/bin", "/lib", "/lib64"):
        if Path(folder).is_symlink():
            command += ["--symlink", os.readlink(folder), folder]
        elif Path(folder).is_dir():
            command += ["--ro-bind", folder, folder]
    command += ["--proc", "/proc", "--dev", "/dev"]
    command += ["--perms", "1777", "--size", str(64 * MEBIBYTE), "--tmpfs", "/tmp"]
    command += ["--perms", "0755", "--dir", sandbox_inside.PACKAGES]
    numpy = find_spec("numpy")
    for package in Path(numpy.origin).parents[1].glob("numpy*") if numpy and numpy.origin else ():
        if package.name in ("numpy", "numpy.libs"):
            command += ["--ro-bind", str(package), f"{sandbox_inside.PACKAGES}/{package.name}"]
    command += ["--setenv", "OPENBLAS_NUM_THREADS", "1"]
    command += ["--ro-bind", sys.base_prefix, "/python", "--ro-bind", str(INSIDE), "/inside.py", "--remount-ro", "/"]
    return [*command, f"/python/bin/python{sys.version_info.major}.{sys.version_info.minor}", "-I", "-S", "/inside.py"]


def run(program: str, entry_point: str, calls: list[Any], limits: Limits, unsandboxed: bool = False) -> Outcome:
    """Call a program's function with each of `calls`, lists of encoded arguments.

    Raises:
        UserError: there is no sandbox on this machine, and `unsandboxed` is not set.
    """
    if unsandboxed:
        command, limits = [sys.executable, "-I", str(INSIDE)], Limits(**{**asdict(limits), "processes": 0})
    else:
        require_isolation()
        command = bubblewrap()
    return _run(command, {"program": program, "entry_point": entry_point, "calls": calls}, limits)


def _run(command: list[str], task: dict[str, Any], limits: Limits) -> Outcome:
    encoded = json.dumps({**task, "limits": asdict(limits)}).encode()
    with (
        tempfile.TemporaryFile() as request,
        tempfile.TemporaryFile() as reply,
    ):  # a file can be limited, a pipe cannot
        request.write(encoded)
        request.seek(0)
        process = subprocess.Popen(
            command, stdin=request, stdout=reply, stderr=subprocess.DEVNULL, start_new_session=True, env={}
        )
        try:
            process.wait(limits.wall_seconds)
        except subprocess.TimeoutExpired:
            return Outcome("timeout", [])
        finally:
            _end(process)
        reply.seek(0)
        text = reply.read()
    if process.returncode in (128 + signal.SIGXCPU, 128 + signal.SIGKILL, -signal.SIGXCPU, -signal.SIGKILL):
        return Outcome("timeout", [])
    try:
        answer = json.loads(text)
        return Outcome("done", list(answer["given"]), float(answer["cpu_seconds"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return Outcome("failed", [])


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


PROBE = """
import os, socket

def probe(port, home):
    children = 0
    try:
        while children < 200:
            if os.fork() == 0:
                os.read(os.pipe()[0], 1)
            children += 1
    except OSError:
        pass
    found = ["more than its share of processes"] if children >= 200 else []
    try:
        socket.create_connection(("127.0.0.1", port), 2)
        found.append("the network")
    except OSError:
        pass
    try:
        os.listdir(home)
        found.append("the home folder")
    except OSError:
        pass
    if os.getuid() == 0:
        found.append("the root user")
    return found
"""


@cache
def require_isolation() -> None:
    """Test the sandbox, once.

    Raises:
        UserError: it does not start here, or something outside can be reached from inside.
    """
    advice = "; set grading.allow_unsandboxed to true only if you trust every program that the model may write"
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = [sandbox_inside.encode([server.getsockname()[1], str(Path.home())])]
        outcome = _run(bubblewrap(), {"program": PROBE, "entry_point": "probe", "calls": arguments}, Limits())
    if outcome.status != "done":
        raise UserError(f"bubblewrap does not work on this machine (try: bwrap --ro-bind / / true){advice}")
    reached = sandbox_inside.decode(outcome.given[0])
    if reached:
        raise UserError(f"programs in the sandbox reach {', '.join(map(str, reached))}{advice}")
