"""A fork of a process with imported libraries is like a fresh Python, to its program and to whoever started it."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.workflow.forks import servers
from tests.workflow.study import forking, make_study, snakemake, sockets

PROBE = """
import atexit, json, os, signal, sys, time
before = "torch" in sys.modules
atexit.register(print, "the end")
if __name__ == "__main__":
    what, *more = sys.argv[1:]
    if what == "tell":
        mask = os.umask(0)
        told = [sys.argv, sys.path[0], os.getcwd(), sorted(os.environ.items()), mask, __name__, __file__, __package__]
        told += [sys.stdin.read(), sys.executable, sys.prefix, sys.flags.hash_randomization, sys.stdout.encoding]
        told += [sys.modules["__main__"].PROBED, str(signal.getsignal(signal.SIGINT)), signal.getsignal(signal.SIGCHLD)]
        told += [sorted(os.listdir("/proc/self/fd"))]
        print(json.dumps(told, default=str))
        print("on the other stream", file=sys.stderr)
    elif what == "import":
        print(before)
    elif what == "exit":
        sys.exit(eval(more[0]))
    elif what == "die":
        os.kill(os.getpid(), int(more[0]))
    elif what == "wait":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        print(os.getpid(), flush=True)
        time.sleep(600)
"""
MODULE = "workflow_scripts.probe"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of one module."""
    (tmp_path / "workflow_scripts").mkdir()
    (tmp_path / "workflow_scripts" / "probe.py").write_text(PROBE.replace("before =", "PROBED = before =", 1))
    return tmp_path


def surroundings(**more: str) -> dict[str, str]:
    """The environment of a job of one thread."""
    return {**forking(), **dict.fromkeys(servers.THREADS, "1"), **more}


def command(forked: bool, *arguments: str) -> list[str]:
    """The probe, in a fork or in a process of its own."""
    start = [*servers.CLIENT, str(sockets() / "jobs-1")] if forked else [sys.executable]
    return [*start, "-m", MODULE, *arguments]


def run(folder: Path, forked: bool, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """What the probe prints and how it ends."""
    given = {"cwd": folder, "env": surroundings(**more)}
    return subprocess.run(command(forked, *arguments), input="read", capture_output=True, text=True, **given)  # type: ignore[call-overload]


ENDS = [["tell", "a b", "\N{SNOWMAN}"], ["exit", "None"], ["exit", "3"], ["exit", "'error: a line'"]]
ENDS += [["exit", "1 / 0"], ["die", "9"], ["die", "15"]]


@pytest.mark.parametrize("arguments", ENDS, ids=" ".join)
def test_a_program_sees_and_does_what_it_would_in_a_process_of_its_own(folder: Path, arguments: list[str]) -> None:
    real, fork = (run(folder, forked, *arguments, SOME="thing") for forked in (False, True))
    assert fork.returncode == real.returncode
    assert fork.stdout.splitlines() == real.stdout.splitlines()
    assert fork.stderr.splitlines()[-1:] == real.stderr.splitlines()[-1:]


def test_the_libraries_are_there_only_where_the_environment_is_that_of_their_import(folder: Path) -> None:
    assert run(folder, True, "import").stdout == "True\nthe end\n"
    assert run(folder, False, "import").stdout == "False\nthe end\n"
    for more in ({"OMP_NUM_THREADS": "2"}, {"CUDA_VISIBLE_DEVICES": "3"}, {"PYTHONPATH": str(folder)}):
        assert run(folder, True, "import", **more).stdout == "False\nthe end\n", more


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_signal_to_the_client_reaches_the_program(folder: Path, number: signal.Signals) -> None:
    client = subprocess.Popen(command(True, "wait"), cwd=folder, env=surroundings(), stdout=subprocess.PIPE, text=True)
    assert client.stdout
    program = psutil.Process(int(client.stdout.readline()))
    client.send_signal(number)
    assert client.wait(timeout=30) == (-number if number == signal.SIGKILL else 7)
    program.wait(timeout=30)


def test_jobs_of_a_run_are_forks(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study")
    module = folder / "workflow_scripts" / "prepare_problems.py"
    tell = 'import sys\n\nopen("told", "w").write(str("torch" in sys.modules))\n'
    module.write_text(module.read_text().replace('"""\n', f'"""\n\n{tell}', 1))
    made, told = "results/problems/coins/0.parquet", folder / "told"
    for real in (False, True):
        snakemake(folder, "--cores", "1", "--forcerun", "prepare_problems", "--", made, real=real)
        assert told.read_text() == str(not real)
