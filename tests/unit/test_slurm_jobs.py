"""A run in a folder that another one held: on another machine, with jobs in SLURM, or with SLURM out of reach."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from workflow_scripts.lib.runtime.slurm_jobs import JOB_NAME, NOTICES, note_restart, print_notices

ROOT = Path(__file__).resolve().parents[2]
HERE = socket.gethostname()


def acquire(folder: Path, slurm: bool, held_before: str = "") -> subprocess.CompletedProcess[str]:
    """Take the folder as a run does, with no SLURM within reach, and end in good order."""
    lock = folder / ".snakemake" / "run.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.write_text(held_before)
    lines = [
        "from pathlib import Path",
        "from workflow_scripts.lib.errors import report_errors",
        "from workflow_scripts.lib.runtime.run_lock import LOCK, acquire",
        f"report_errors(lambda: acquire(slurm={slurm}))",
        "print(LOCK.read_text())",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": "/nowhere"}
    command = [sys.executable, "-c", "\n".join(lines)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_lock_says_who_holds_the_folder_and_is_empty_after_an_orderly_end(tmp_path: Path) -> None:
    done = acquire(tmp_path, slurm=False)
    host, process, where = done.stdout.split()
    assert (host, where) == (HERE, "local") and process.isdigit()
    assert (tmp_path / ".snakemake" / "run.lock").read_text() == ""


@pytest.mark.parametrize(("slurm", "held"), [(True, "elsewhere 7 local\n"), (False, "elsewhere 7 slurm\n")])
def test_a_run_that_may_be_alive_on_another_machine_is_not_disturbed(slurm: bool, held: str, tmp_path: Path) -> None:
    refused = acquire(tmp_path, slurm, held)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert "a run that began on elsewhere (process 7) may still be active" in line and "delete this file" in line
    assert (tmp_path / ".snakemake" / "run.lock").read_text() == held


@pytest.mark.parametrize(("slurm", "held"), [(True, ""), (False, f"{HERE} 7 slurm\n")])
def test_where_slurm_does_not_answer_nothing_is_submitted(slurm: bool, held: str, tmp_path: Path) -> None:
    refused = acquire(tmp_path, slurm, held)
    assert refused.returncode == 1
    (line,) = refused.stderr.splitlines()
    assert line.startswith("error: squeue: SLURM does not answer") and "nothing was submitted" in line
    assert (tmp_path / ".snakemake" / "run.lock").read_text() == held


@pytest.mark.parametrize("held", ["", f"{HERE} 7 local\n", "elsewhere 7 local\n"])
def test_a_local_run_after_a_local_run_asks_no_slurm(held: str, tmp_path: Path) -> None:
    assert acquire(tmp_path, slurm=False, held_before=held).returncode == 0


def test_jobs_of_others_in_the_folder_do_not_bear_a_name_of_snakemakes() -> None:
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    assert JOB_NAME.fullmatch(uuid) and JOB_NAME.fullmatch(f"my-prefix_{uuid}")
    assert not any(map(JOB_NAME.fullmatch, ("wrap", "interactive", f"{uuid}.sh", uuid[:-1])))


def test_a_job_that_was_begun_anew_is_told_of_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    NOTICES.parent.mkdir()
    monkeypatch.setattr(sys, "argv", ["snakemake", "--target-jobs", "grade_rollouts:shard=0", "--force"])
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    for count in ("0", "1"):
        monkeypatch.setenv("SLURM_RESTART_COUNT", count)
        note_restart()
    print_notices()
    print_notices()
    said = capsys.readouterr().err
    assert said.count("SLURM job 12 (grade_rollouts:shard=0) was preempted or lost its node; it restarted") == 1
