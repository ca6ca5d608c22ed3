"""GPUs of a workstation: the real Snakemake shares out devices that a variable of the environment pretends."""

from pathlib import Path

import pytest

from tests.workflow.study import rules, snakemake

SHARDS = [f"results/activations/tiny/coins/{shard}.safetensors" for shard in (0, 1)]


def logs(folder: Path) -> list[str]:
    """What the two jobs said when they claimed their devices, in the order of their names."""
    paths = [folder / f"results/logs/dump_activations/tiny/coins/{shard}.log" for shard in (0, 1)]
    return sorted(line for path in paths for line in path.read_text().splitlines() if "GPU" in line)


@pytest.fixture
def halved(study: Path) -> Path:
    """A study whose activations have to be dumped again."""
    for shard in SHARDS:
        (study / shard).unlink()
    return study


def test_jobs_of_one_run_compute_on_different_devices(halved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,3")
    snakemake(halved, "--cores", "2", *SHARDS, real=True)
    assert logs(halved) == ["computes on GPU 3", "computes on GPU GPU-a"]


def test_no_more_jobs_at_a_time_than_devices(halved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    snakemake(halved, "--cores", "2", *SHARDS, real=True)
    assert logs(halved) == ["computes on GPU 3"] * 2  # and neither had to wait


TOO_MUCH = {
    "two of one": ("0", ["gpu=2"], [], "needs 2 GPUs, but this machine has 1; ask for 1"),
    "two of none": ("", ["gpu=2"], [], "needs 2 GPUs, but this machine has 0; ask for 1"),
    "more than allowed": ("0,1", ["gpu=2"], ["gpu=1"], "needs 2 GPUs, but --resources gpu=1 allows no more; ask for 1"),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_a_rule_that_wants_more_than_there_is_stops_before_any_work(
    finished: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    visible, wanted, allowed, said = TOO_MUCH[name]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    arguments = ["--set-resources", *(f"sample_rollouts:{one}" for one in wanted)]
    arguments += ["--resources", *allowed] if allowed else []
    done = snakemake(finished, "--dry-run", *arguments, check=False)
    assert done.returncode == 1
    assert f"error: rule sample_rollouts {said} (--set-resources sample_rollouts:gpu=1)" in done.stderr


def test_without_a_gpu_everything_runs_on_the_cpu(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert rules(finished, "--forcerun", "sample_rollouts")["continue_paragraphs"] == 2
