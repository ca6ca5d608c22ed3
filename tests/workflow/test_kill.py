"""kill -9 at one stage after the other, and every record as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.workflow.study import differences, environment, make_study, records, rules, snakemake

STAGES = ["sample_rollouts", "continue_paragraphs", "average_paragraphs", "train_dopamine_probes", "tabulate_results"]
"""Each waits for the one before, so that each kill meets a job of its own stage at work."""


def kill_during(rule: str, folder: Path, printed: Path, jobs_too: bool, job_alone: bool = False) -> None:
    """Start the workflow and kill it as soon as a job of `rule` is at work; its jobs with it, left behind, or alone."""
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
        if job_alone:
            tree = psutil.Process(run.pid).children(recursive=True)
            next(one for one in tree if f"workflow_scripts.{rule}" in one.cmdline()).kill()
            assert run.wait(timeout=300) != 0
    finally:
        if run.poll() is None:
            (os.killpg if jobs_too or not at_work else os.kill)(run.pid, signal.SIGKILL)
        run.wait()


def test_killed_at_every_stage_the_results_are_those_of_an_undisturbed_run(finished: Path, tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study", finished / "resources" / "models" / "tiny")
    for number, rule in enumerate(STAGES):
        jobs_too = number % 2 == 0
        kill_during(rule, folder, tmp_path / f"{rule}.txt", jobs_too)
        # Jobs left behind are met by the next run while they are still at work, so nothing may come between.
        assert not jobs_too or rules(folder)[rule] >= 1
    snakemake(folder, "--cores", "2")
    assert "left behind" in "".join(path.read_text() for path in tmp_path.glob("*.txt"))
    assert differences(records(finished), records(folder)) == []
    assert rules(folder) == {}


def test_killed_while_neurons_are_masked_the_finished_shard_is_kept(
    finished: Path, study: Path, tmp_path: Path
) -> None:
    masked = study / "results" / "masked" / "tiny" / "coins" / "1"
    for path in masked.glob("1.*"):
        path.unlink()
    kept = (masked / "0.parquet").stat().st_mtime_ns
    kill_during("mask_neurons", study, tmp_path / "printed.txt", jobs_too=True, job_alone=True)
    said = "error: the job was ended by signal 9, often for lack of memory; finished shards are kept: run again"
    assert said in (tmp_path / "printed.txt").read_text()
    assert not (masked / "1.parquet").exists()
    snakemake(study, "--cores", "2")
    assert (masked / "0.parquet").stat().st_mtime_ns == kept
    assert differences(records(finished), records(study)) == []
