"""Devices of one computer: what counts as one, who gets which, and that locks go with their process."""

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.runtime.devices import SHARED, VISIBLE, devices, gpus, installed, lock_folder

CLAIM = (
    "import os, sys\n"
    "from workflow_scripts.lib.runtime.devices import claim\n"
    "from workflow_scripts.lib.errors import report_errors\n"
    "report_errors(lambda: claim(int(sys.argv[1])))\n"
    "print(os.environ.get('CUDA_VISIBLE_DEVICES', 'unset'), flush=True)\n"
    "sys.stdin.read()\n"
)
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that claims devices and holds them until its standard input ends."""
    started: list[subprocess.Popen[str]] = []

    def begin(count: int, visible: str | None = "0,1", **more: str) -> subprocess.Popen[str]:
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path), SHARED: "", **more}
        environment |= {} if visible is None else {VISIBLE: visible}
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", CLAIM, str(count)]
        started.append(subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def got(process: subprocess.Popen[str]) -> str:
    """The devices that it sees once it has claimed."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline().strip()


def test_processes_get_disjoint_devices_and_wait_for_more(start: Start) -> None:
    first, second = start(1), start(1)
    assert sorted([got(first), got(second)]) == ["0", "1"]
    third = start(1)
    assert said(third) == "waits for 1 of 2 GPUs: other jobs hold them"
    time.sleep(1.5)
    assert third.poll() is None
    held = "0" if said(second).endswith("1") else "1"
    first.kill()  # -9: nobody tidies up, the kernel lets go
    assert got(third) == held and said(third) == f"computes on GPU {held}"


def test_several_devices_are_taken_together_or_not_at_all(start: Start) -> None:
    one = start(1)
    got(one)
    both, other = start(2), start(2)
    assert said(both) == said(other) == "waits for 2 of 2 GPUs: other jobs hold them"
    one.kill()
    assert both.stdout is not None and other.stdout is not None
    (ready,), _, _ = select.select([both.stdout, other.stdout], [], [], 30)
    done, waiting = (both, other) if ready is both.stdout else (other, both)
    assert got(done) == "0,1" and waiting.poll() is None
    done.kill()
    assert got(waiting) == "0,1"


def test_names_are_kept_as_they_were_inherited(start: Start) -> None:
    names = "GPU-0a1b,MIG-2c3d,3"
    assert [got(start(1, names)) for _ in range(3)] == names.split(",")


def test_without_devices_one_means_the_cpu_and_more_is_refused(start: Start) -> None:
    assert got(start(1, "")) == got(start(0, "0,1")) == ""
    refused = start(2, "")
    assert said(refused) == "error: 2 GPUs requested, but this machine has 0; ask for fewer (--set-resources)"
    assert said(start(3)) == "error: 3 GPUs requested, but this machine has 2; ask for fewer (--set-resources)"
    assert refused.wait() == 1


def test_where_slurm_assigns_devices_nothing_is_claimed(start: Start) -> None:
    assert [got(start(1, "0", SLURM_JOB_ID="7")) for _ in range(2)] == ["0", "0"]
    inside = [start(1, "0,1", SLURM_JOB_ID="7", **{SHARED: "7"}) for _ in range(2)]
    assert sorted(map(got, inside)) == ["0", "1"]  # a run inside one job shares what that job was given


@pytest.mark.parametrize(
    ("given", "expected"),
    [("", []), ("-1", []), ("2,0", ["2", "0"]), ("0,-1,1", ["0"]), (" 1 , 1", ["1"]), ("GPU-ab,1", ["GPU-ab", "1"])],
)
def test_devices_of_the_environment(monkeypatch: pytest.MonkeyPatch, given: str, expected: list[str]) -> None:
    monkeypatch.setenv(VISIBLE, given)
    assert devices() == expected


LISTING = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5c1f6a10-0000-1111-2222-333344445555)
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaa1111-0000-1111-2222-333344445555)
  MIG 3g.20gb     Device  1: (UUID: MIG-bbbb1111-0000-1111-2222-333344445555)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-77776a10-0000-1111-2222-333344445555)
"""


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of two GPUs, the first of them divided in two."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{LISTING}END\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")


@pytest.mark.usefixtures("listed")
def test_devices_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    slices = [f"MIG-{letter * 4}1111-0000-1111-2222-333344445555" for letter in "ab"]
    assert devices() == [*slices, "1"]
    assert gpus() == ("NVIDIA A100-SXM4-40GB",) * 2
    monkeypatch.setenv("PATH", "/nowhere")
    assert devices() == [] and installed() == {} and gpus() == ()


@pytest.mark.usefixtures("listed")
def test_one_device_under_two_names_is_one_device(start: Start) -> None:
    path = os.environ["PATH"]
    assert got(start(1, None, PATH=path)).startswith("MIG-aaaa")
    assert got(start(1, "1", PATH=path)) == "1"
    again = start(1, "GPU-77776a10-0000-1111-2222-333344445555", PATH=path)
    assert said(again) == "waits for 1 of 1 GPUs: other jobs hold them"


def test_a_folder_of_locks_that_somebody_else_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / f"reward-subsystem-{os.getuid()}").symlink_to(tmp_path)
    with pytest.raises(UserError, match="belongs to somebody else; set TMPDIR"):
        lock_folder()
