"""What happens in a cluster, brought about for real: nothing is lost, and the user's terminal says what it was.

Each test takes some files out of a finished study, has them made again on the cluster, and disturbs that.
"""

import os
import signal
import subprocess
from pathlib import Path

from tests.slurm.cluster import Cluster, wait_for
from tests.slurm.runs import command, settings, submit
from tests.workflow.study import differences, records, rules

SAMPLES = [f"results/samples/tiny/coins/{shard}.parquet" for shard in (0, 1)]
ROLLOUTS = "results/rollouts/tiny/coins/0.parquet"
ASKED = "results/confidence/tiny/coins/1.parquet"
PARAGRAPHS = "results/paragraphs/tiny/coins/0.parquet"
ONCE = "mkdir .{0} 2> /dev/null && sleep 300"


def inject(folder: Path, **shell: str) -> None:
    """Have the jobs of the named modules do something before their work. It is no part of a rule: it reruns nothing."""
    # The shell looks at its own command, of which this is a part: the brackets keep the pattern from matching itself.
    cases = "".join(f"*workflow_scripts[.]{module}*) {words};; " for module, words in shell.items())
    prefix = f"case $BASH_EXECUTION_STRING in {cases}esac; "
    replace(folder / "Snakefile", "shell.prefix(LAST_WORDS)", f"shell.prefix(LAST_WORDS + {prefix!r})")


def replace(path: Path, old: str, new: str) -> None:
    """Change one place of a file."""
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def start(cluster: Cluster, folder: Path, *targets: str) -> subprocess.Popen[str]:
    """Begin to make files again that are taken out; what is printed goes into `printed.txt`."""
    for target in targets:
        (folder / target).unlink(missing_ok=True)
    with (folder / "printed.txt").open("w") as file:
        return subprocess.Popen(
            command(*targets),
            cwd=folder,
            env=settings(cluster),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


def printed(run: subprocess.Popen[str], folder: Path) -> str:
    """What the run had printed by its end, which must be a good one."""
    try:
        assert run.wait(timeout=400) == 0, (folder / "printed.txt").read_text()
    finally:
        run.kill()
    return (folder / "printed.txt").read_text()


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
    run = start(cluster, study, *SAMPLES)
    try:
        cluster.wait_for_job("sample_rollouts", "PENDING")  # the second one; the other holds the GPU that is left
        wait_for(lambda: len(cluster.jobs("RUNNING")) == 3, "the first job at work", 60)
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    (study / ".go").touch()
    again = submit(cluster, study, *SAMPLES)
    assert "cancelled 2 SLURM jobs that a killed run had left behind" in again.stderr
    running = {job["JobId"] for job in cluster.jobs("RUNNING")}
    assert running == {of_another_folder, of_the_user}
    cluster.run("scancel", *running)
    mine = [job for job in cluster.jobs() if job.get("WorkDir") == str(study) and job["JobId"] != of_the_user]
    assert [job["JobState"] for job in mine] == ["CANCELLED", "CANCELLED", "COMPLETED", "COMPLETED"]
    assert max(job["EndTime"] for job in mine[:2]) <= min(job["SubmitTime"] for job in mine[2:])
    assert differences(records(finished), records(study)) == []
    assert rules(study) == {}


def test_jobs_that_are_cancelled_or_outgrow_time_or_memory_are_submitted_again_with_more(
    cluster: Cluster, finished: Path, study: Path
) -> None:
    eat = 'python -c "import time; held = bytearray(700 << 20); time.sleep(4)"'
    inject(study, sample_rollouts=ONCE.format("slow"), ask_confidence=ONCE.format("idle"), grade_rollouts=eat)
    before = "sample_rollouts:\n    mem_mb: attempt * 64000\n    runtime: attempt * "
    replace(study / "profiles/slurm/profile.yaml", f"{before}720\n", f"{before}1\n")
    replace(study / "rules/rollouts.smk", "mem_mb=grows(2000)", "mem_mb=grows(600)")
    run = start(cluster, study, SAMPLES[1], ASKED, ROLLOUTS)
    wait_for((study / ".idle").exists, "a job to cancel", 90)
    cluster.run("scancel", cluster.wait_for_job("ask_confidence")["JobId"])
    said = printed(run, study)
    mine = {
        rule: [job for job in cluster.jobs() if job.get("WorkDir") == str(study) and rule in job["Comment"]]
        for rule in ("sample_rollouts", "ask_confidence", "grade_rollouts")
    }
    states = {rule: [job["JobState"] for job in jobs] for rule, jobs in mine.items()}
    assert states["sample_rollouts"] == ["TIMEOUT", "COMPLETED"]
    assert states["ask_confidence"] == ["CANCELLED", "COMPLETED"]
    assert states["grade_rollouts"] == ["FAILED", "COMPLETED"]
    assert [job["TimeLimit"] for job in mine["sample_rollouts"]] == ["00:01:00", "00:02:00"]
    assert [job["MinMemoryNode"] for job in mine["grade_rollouts"]] == ["600M", "1200M"]
    assert "DUE TO TIME LIMIT" in line_of("sample_rollouts", said) and "TIMEOUT" in said
    assert "CANCELLED" in line_of("ask_confidence", said)
    assert "exceeded memory limit" in line_of("grade_rollouts", said)
    assert differences(records(finished), records(study)) == []
    assert rules(study) == {}


def test_a_job_that_is_preempted_and_then_loses_its_node_is_begun_anew(
    cluster: Cluster, finished: Path, study: Path
) -> None:
    inject(study, segment_paragraphs=f"{ONCE.format('first')}; {ONCE.format('second')}; true")
    run = start(cluster, study, PARAGRAPHS)
    wait_for((study / ".first").exists, "the job at work", 90)
    cluster.run("sbatch", "--partition=urgent", "--exclusive", "--mem=10", "--output=/dev/null", "--wrap=sleep 1")
    wait_for((study / ".second").exists, "the preempted job at work again", 120)
    cluster.run("scontrol", "update", f"nodename={cluster.host}", "state=down", "reason=test")
    cluster.wait_for_job("segment_paragraphs", "PENDING")
    cluster.run("scontrol", "update", f"nodename={cluster.host}", "state=resume")
    said = printed(run, study)
    (job,) = [job for job in cluster.jobs() if job.get("WorkDir") == str(study)]
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "2")
    assert said.count(f"SLURM job {job['JobId']} (") == 2 and "was preempted or lost its node" in said
    assert differences(records(finished), records(study)) == []
    assert rules(study) == {}


def test_more_gpus_than_there_are_is_refused(cluster: Cluster, study: Path) -> None:
    (study / SAMPLES[0]).unlink()
    refused = submit(
        cluster, study, "--set-resources", "sample_rollouts:gpu=3", "--retries=0", "--", SAMPLES[0], check=False
    )
    print(refused.stdout, refused.stderr)
    assert refused.returncode != 0
    assert "refused by sbatch: " in line_of("sample_rollouts", refused.stderr)
    assert "Requested node configuration is not available" in line_of("sample_rollouts", refused.stderr)
