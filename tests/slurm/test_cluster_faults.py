"""What happens in a cluster, brought about for real: nothing is lost, and the user's terminal says what it was.

Each test takes some files out of a finished study, has them made again on the cluster, and disturbs that.
"""

import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, wait_for
from tests.slurm.runs import command, settings, submit
from tests.workflow.study import differences, inject, records, replace, rules

SAMPLES = [f"results/samples/tiny/coins/{shard}.parquet" for shard in (0, 1)]
ROLLOUTS = "results/rollouts/tiny/coins/0.parquet"
ASKED = "results/confidence/tiny/coins/1.parquet"
PARAGRAPHS = [f"results/paragraphs/tiny/coins/{shard}.parquet" for shard in (0, 1)]
ENDED = {
    "segment_paragraphs": "CANCELLED",
    "ask_confidence": "DUE TO TIME LIMIT",
    "grade_rollouts": "exceeded memory limit",
}
# A job that is ended loses its `sleep` a moment before its shell: the shell must not go on to what follows.
ONCE = "if mkdir .{0} 2> /dev/null; then sleep 300; exit 1; fi"


@contextmanager
def started(
    cluster: Cluster, folder: Path, *targets: str, options: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """A run that makes files again which are taken out; it prints into `printed.txt`, and is killed at the end."""
    for target in targets:
        (folder / target).unlink(missing_ok=True)
    full, environment = command(*options, *targets), settings(cluster)
    with (folder / "printed.txt").open("w") as file:
        run = subprocess.Popen(full, cwd=folder, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        yield run
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def printed(run: subprocess.Popen[bytes], folder: Path) -> str:
    """What the run had printed by its end, which must be a good one."""
    code = run.wait(timeout=400)
    said = (folder / "printed.txt").read_text()
    assert code == 0, said
    return said


def of_rule(cluster: Cluster, folder: Path, rule: str) -> list[dict[str, str]]:
    """The jobs of a rule that were submitted in a folder, oldest first."""
    mine = [job for job in cluster.jobs() if job["WorkDir"] == str(folder)]
    mine = [job for job in mine if job.get("Comment", "").startswith(f"rule_{rule}_")]
    return sorted(mine, key=lambda job: int(job["JobId"]))


def line_of(rule: str, said: str) -> str:
    """The one line that says what became of a rule's job."""
    (line,) = [line for line in said.splitlines() if line.startswith(f"error: {rule} (")]
    return line


def test_jobs_of_a_killed_run_are_ended_before_others_are_submitted(
    cluster: Cluster, finished: Path, study: Path, tmp_path: Path
) -> None:
    inject(study, sample_rollouts="[ -e .go ] || sleep 300")
    uuid = "01234567-89ab-cdef-0123-456789abcdef"
    batch = ["sbatch", "--parsable", "--output=/dev/null", "--mem=10", "--wrap=sleep 300"]
    of_another_folder = cluster.run(*batch, f"--chdir={tmp_path}", f"--job-name={uuid}", "-pgpu", "--gpus=1").strip()
    of_the_user = cluster.run(*batch, f"--chdir={study}").strip()
    with started(cluster, study, *SAMPLES):
        cluster.wait_for_job("sample_rollouts", "PENDING")  # the second one; the other holds the GPU that is left
        wait_for(lambda: len(cluster.jobs("RUNNING")) == 3, "the first job at work", 60)
    (study / ".go").touch()
    again = submit(cluster, study, *SAMPLES)
    assert "cancelled 2 SLURM jobs that a killed run had left behind" in again.stderr
    running = {job["JobId"] for job in cluster.jobs("RUNNING")}
    assert running == {of_another_folder, of_the_user}
    cluster.run("scancel", *running)
    mine = of_rule(cluster, study, "sample_rollouts")
    assert [job["JobState"] for job in mine] == ["CANCELLED", "CANCELLED", "COMPLETED", "COMPLETED"]
    assert max(job["EndTime"] for job in mine[:2]) <= min(job["SubmitTime"] for job in mine[2:])
    assert differences(records(finished), records(study)) == []
    assert rules(study) == {}


def test_jobs_that_are_cancelled_or_outgrow_time_or_memory_are_submitted_again_with_more(
    cluster: Cluster, finished: Path, study: Path
) -> None:
    eat = 'python -c "import time; held = bytearray(700 << 20); time.sleep(4)"'
    inject(study, segment_paragraphs=ONCE.format("idle"), ask_confidence=ONCE.format("slow"), grade_rollouts=eat)
    before = "ask_confidence:\n    mem_mb: attempt * 64000\n    runtime: attempt * "
    replace(study / "profiles/slurm/profile.yaml", f"{before}240\n", f"{before}1\n")
    replace(study / "rules/rollouts.smk", "mem_mb=more_each_attempt(1000)", "mem_mb=more_each_attempt(600)")
    with started(cluster, study, PARAGRAPHS[1], ASKED, ROLLOUTS) as run:
        wait_for((study / ".idle").exists, "a job to cancel", 90)
        cluster.run("scancel", cluster.wait_for_job("segment_paragraphs")["JobId"])
        said = printed(run, study)
    cancelled, slow, large = (of_rule(cluster, study, rule) for rule in ENDED)
    assert [job["JobState"] for job in cancelled] == ["CANCELLED", "COMPLETED"]
    assert [(job["JobState"], job["TimeLimit"]) for job in slow] == [("TIMEOUT", "00:01:00"), ("COMPLETED", "00:02:00")]
    assert [(job["JobState"], job["MinMemoryNode"]) for job in large] == [("FAILED", "600M"), ("COMPLETED", "1200M")]
    for rule, why in ENDED.items():
        assert why in line_of(rule, said)
    assert differences(records(finished), records(study)) == []
    assert rules(study) == {}


@pytest.mark.parametrize("asked", ["sacct", "squeue"])
def test_a_job_that_is_preempted_and_then_loses_its_node_is_begun_anew(
    cluster: Cluster, finished: Path, study: Path, asked: str
) -> None:
    inject(study, segment_paragraphs=f"{ONCE.format('first')}; {ONCE.format('second')}; true")
    with started(cluster, study, PARAGRAPHS[0], options=[f"--slurm-status-command={asked}"]) as run:
        wait_for((study / ".first").exists, "the job at work", 90)
        cluster.run("sbatch", "--partition=urgent", "--exclusive", "--mem=10", "--output=/dev/null", "--wrap=sleep 1")
        wait_for((study / ".second").exists, "the preempted job at work again", 120)
        cluster.run("scontrol", "update", f"nodename={cluster.host}", "state=down", "reason=test")
        cluster.wait_for_job("segment_paragraphs", "PENDING")
        cluster.run("scontrol", "update", f"nodename={cluster.host}", "state=resume")
        said = printed(run, study)
    (job,) = of_rule(cluster, study, "segment_paragraphs")
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "2")
    assert said.count(f"SLURM job {job['JobId']} (") == 2 and "was preempted or lost its node" in said
    assert differences(records(finished), records(study)) == []
    assert rules(study) == {}


def test_more_gpus_than_there_are_is_refused(cluster: Cluster, study: Path) -> None:
    (study / SAMPLES[0]).unlink()
    refused = submit(
        cluster, study, "--set-resources", "sample_rollouts:gpu=3", "--retries=0", "--", SAMPLES[0], check=False
    )
    assert refused.returncode != 0
    assert "refused by sbatch: " in line_of("sample_rollouts", refused.stderr)
    assert "Requested node configuration is not available" in line_of("sample_rollouts", refused.stderr)
