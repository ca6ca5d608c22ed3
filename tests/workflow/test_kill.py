"""kill -9 at one stage after the other, and every record as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.workflow.study import differences, environment, make_study, records, rules, snakemake

STAGES = ["sample_rollouts", "continue_paragraphs", "average_paragraphs", "train_dopamine_probes", "tabulate_results"]
"""Each waits for the one before, so that each kill meets a job of its own stage at work."""


def kill_during(rule: str, folder: Path, printed: Path, jobs_too: bool) -> None:
    """Start the workflow and kill it as soon as a job of `rule` is at work; its jobs with it, or left behind."""
    begin = time.time()
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    with printed.open("w") as file:
        run = subprocess.Popen(command, cwd=folder, env=environment(), stdout=file, stderr=file, start_new_session=True)
    logs = folder / "results" / "logs"
    at_work = False
    try:
        while not at_work:
            assert run.poll() is None, printed.read_text()
            assert time.time() < begin + 1800
            time.sleep(0.02)
            found = [log for log in [logs / f"{rule}.log", *logs.glob(f"{rule}/**/*.log")] if log.exists()]
            at_work = any(log.stat().st_mtime > begin for log in found)
    finally:
        (os.killpg if jobs_too or not at_work else os.kill)(run.pid, signal.SIGKILL)
        run.wait()


def test_killed_at_every_stage_the_results_are_those_of_an_undisturbed_run(finished: Path, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", finished / "resources" / "models" / "tiny")
    for number, rule in enumerate(STAGES):
        kill_during(rule, folder, tmp_path / f"{rule}.txt", jobs_too=number % 2 == 0)
        assert rules(folder)[rule] >= 1
    snakemake(folder, "--cores", "2")
    assert "left behind" in "".join(path.read_text() for path in tmp_path.glob("*.txt"))
    assert differences(records(finished), records(folder)) == []
    assert rules(folder) == {}
