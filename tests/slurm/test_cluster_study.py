"""Studies through a real SLURM and the shipped profile: the same records as on one machine."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.slurm.cluster import Cluster
from tests.slurm.runs import settings, submit, with_environments
from tests.workflow.study import copy_project, differences, make_study, records, rules, snakemake


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


@pytest.mark.skipif(not os.environ.get("LONG_TESTS"), reason="takes a quarter of an hour; LONG_TESTS=1 runs it")
def test_the_default_study_in_small_on_the_cluster_gives_the_records_of_a_local_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    here, there = small_default(tmp_path / "here"), with_environments(small_default(tmp_path / "there"))
    snakemake(here, "--cores", "2")
    submit(cluster, there)
    assert differences(records(here), records(there)) == []
    assert rules(there) == {}


def small_default(folder: Path) -> Path:
    """The default study with its models, runs and stages, but few problems and short training."""
    copy_project(folder)
    shutil.copytree("resources", folder / "resources", dirs_exist_ok=True)
    config: dict[str, Any] = yaml.safe_load(Path("config.yaml").read_text())
    for one in config["datasets"].values():
        one.update(n_problems=100, shard_size=50)
    config["values"].update(n_problems=50, shard_size=25, n_continuations=4)
    for name in ("value_probes", "dopamine_probes"):
        config[name].update(epochs=2, seeds=[0], shuffled_seeds=[0])
    config["interventions"].update(n_problems=20, draws=1)
    config["search"].update(n_problems=8)
    config["pruning"].update(bootstrap=100, random_draws=5)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder


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
    """Names of the rules that say `gpu=1`, and of their copies."""
    text = "".join(path.read_text() for path in (folder / "rules").glob("*.smk"))
    blocks = re.split(r"^(?:use )?rule ", text, flags=re.MULTILINE)[1:]
    found = {block.partition(":")[0] for block in blocks if "gpu=1," in block}
    copies = re.findall(r"^use rule (\w+) as (\w+) with:", text, flags=re.MULTILINE)
    return found | {copy for original, copy in copies if original in found}
