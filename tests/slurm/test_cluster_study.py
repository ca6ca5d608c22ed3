"""The tiny study through a real SLURM and the shipped profile: the same records as on one machine."""

import re
import shutil
import subprocess
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.slurm.runs import settings, submit, with_environments
from tests.workflow.study import differences, make_study, records, rules


def test_the_study_on_the_cluster_gives_the_records_of_a_local_run(
    cluster: Cluster, finished: Path, tmp_path: Path
) -> None:
    folder = with_environments(make_study(tmp_path / "study", finished / "resources" / "models" / "tiny"))
    expected = rules(folder)
    submit(cluster, folder)
    assert differences(records(finished), records(folder)) == []
    assert rules(folder) == {}
    jobs = [job for job in cluster.jobs() if job["WorkDir"] == str(folder)]
    assert {job["JobState"] for job in jobs} == {"COMPLETED"} and len(jobs) == expected.total()
    holding = {rule_of(job["Comment"]) for job in jobs if "gpu" in job.get("TresPerJob", "")}
    wanting = rules_with_a_gpu(folder) & set(expected)
    assert holding == wanting and {job["Partition"] for job in jobs if rule_of(job["Comment"]) in holding} == {"gpu"}
    assert {job["Partition"] for job in jobs if rule_of(job["Comment"]) not in holding} == {"cpu"}
    assert (folder / ".snakemake" / "run.lock").read_text() == ""


def test_make_submits_from_the_environment_that_has_the_plugin(cluster: Cluster, study: Path) -> None:
    shutil.copy("Makefile", study)
    command = ["make", "dry-run", "PROFILE=slurm"]
    done = subprocess.run(command, cwd=study, env=settings(cluster), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr and "profiles/slurm" in done.stderr


def rule_of(comment: str) -> str:
    """The rule that a job's comment names."""
    return comment.removeprefix("rule_").partition("_wildcards_")[0]


def rules_with_a_gpu(folder: Path) -> set[str]:
    """Names of the rules that say `gpu=1`."""
    text = "".join(path.read_text() for path in (folder / "rules").glob("*.smk"))
    blocks = re.split(r"^rule ", text, flags=re.MULTILINE)[1:]
    return {block.partition(":")[0] for block in blocks if "gpu=1," in block}
