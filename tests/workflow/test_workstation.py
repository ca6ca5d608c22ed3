"""One computer, used: the real Snakemake shares out the memory of a pretended machine, and jobs take their threads."""

import re
from pathlib import Path

import pytest
import yaml

from tests.workflow.study import configuration, dry_run, inject, make_study, snakemake, write_config

JOBS = 12
SHARDS = [f"results/problems/coins/{shard}.parquet" for shard in range(JOBS)]
ROLLOUTS = "results/rollouts/tiny/coins/0.parquet"
MACHINE = """import psutil
from types import SimpleNamespace
psutil.virtual_memory = lambda: SimpleNamespace(total=256_000_000_000, available={free})
"""
TOGETHER = """touch "at_work/$$"; for i in $(seq 600); do [ $(ls at_work | wc -l) -ge {jobs} ] && break; sleep 0.1;
done; [ $(ls at_work | wc -l) -ge {jobs} ] || exit 7"""
ALONE = """mkdir at_work/lock || exit 7; sleep 0.3; rmdir at_work/lock"""


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A study with a dozen shards of problems, which a job of 1,000 MB prepares each."""
    folder, config = make_study(tmp_path / "study"), configuration()
    config["datasets"]["coins"]["shard_size"] = 8
    write_config(folder, config)
    (folder / "at_work").mkdir()
    return folder


def pretend(monkeypatch: pytest.MonkeyPatch, folder: Path, free: int) -> None:
    """Have Python find `free` bytes of memory on this machine."""
    (folder / "sitecustomize.py").write_text(MACHINE.format(free=free))
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_jobs_fill_the_cores_of_a_large_machine(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each job waits until all others are at work: that ends only if all run at the same time."""
    pretend(monkeypatch, shards, 256_000_000_000)
    inject(shards, prepare_problems=TOGETHER.format(jobs=JOBS).replace("\n", " "))
    snakemake(shards, "--workflow-profile", "profiles/default", "--cores", "64", *SHARDS, real=True)
    assert len(list((shards / "at_work").iterdir())) == JOBS


def test_jobs_of_a_small_machine_wait_for_memory(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, shards, 2_000_000_000)
    inject(shards, prepare_problems=ALONE)
    snakemake(shards, "--workflow-profile", "profiles/default", "--cores", "64", *SHARDS[:3], real=True)
    more = [*SHARDS[3:6], "--resources", "mem_mb=9000"]  # what the user says counts more
    done = snakemake(shards, "--workflow-profile", "profiles/default", "--cores", "64", *more, check=False, real=True)
    assert done.returncode != 0


def test_libraries_use_the_threads_of_their_job(study: Path) -> None:
    """Whatever the cores of the machine."""
    told = 'env | grep -E "(OMP|OPENBLAS|MKL|POLARS|RAYON|NUMEXPR)_.*THREADS" | cut -d= -f2 | sort -u > {}'
    inject(study, prepare_problems=told.format("one"), measure_neurons=told.format("two"))
    for made in ("results/neurons/tiny/coins/measures.safetensors", "results/problems/coins/0.parquet"):
        (study / made).unlink()
        snakemake(study, "--cores", "8", made, real=True)
    assert [(study / name).read_text().split() for name in ("one", "two")] == [["1"], ["2"]]


def test_memory_follows_weights_and_states(shards: Path) -> None:
    """A model of 7 billion parameters in two bytes each, stated in the configuration, is 14 GB more."""

    def asked() -> dict[str, int]:
        printed = dry_run(shards, SHARDS[0], ROLLOUTS, "--quiet", "host")
        return {rule: int(mb) for rule, mb in re.findall(r"^rule (\w+):(?:.|\n)*?mem_mb=(\d+)", printed, re.MULTILINE)}

    before = asked()
    config = yaml.safe_load((shards / "config.yaml").read_text())
    size = {"parameters": 7e9, "hidden_size": 4, "n_layers": 2, "vocabulary": 9, "key_width": 4}
    config["models"]["tiny"] = {"path": "owner/name", "dtype": "bfloat16", "size": size}
    write_config(shards, config)
    assert asked() == {**before, "sample_rollouts": before["sample_rollouts"] + 14_000}
