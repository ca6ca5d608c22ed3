"""The workflow on the six benchmarks, from their sources to grades, with random models of the paper's families."""

import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from tests.unit.hub_layout import COPIES, DATA, local_entry
from tests.unit.tiny_models import PAPER_FAMILIES, tiny_model, tiny_tokenizer
from tests.workflow.study import copy_project, snakemake, write_config

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} with copies of the benchmarks is not here"),
    pytest.mark.skipif(
        shutil.which("bwrap") is None and not os.environ.get("REQUIRE_SANDBOX"),
        reason="bubblewrap (bwrap) is not installed",
    ),
]
N = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one model of each family on one benchmark each, up to responses and hidden states."""
    folder = copy_project(tmp_path_factory.mktemp("benchmarks") / "project")
    shutil.copytree("resources/nltk_data", folder / "resources" / "nltk_data")
    names = [family.replace("-", "_") for family in PAPER_FAMILIES]
    for family, name in zip(PAPER_FAMILIES, names, strict=True):
        model = tiny_model(family)
        model.config.get_text_config().max_position_embeddings = 1024
        model.save_pretrained(folder / "models" / name)
        tiny_tokenizer().save_pretrained(folder / "models" / name)
    datasets = {name: local_entry(name, folder / "hub" / name) for name in COPIES}
    for entry in datasets.values():
        entry |= {"n_problems": N, "shard_size": N}
    runs = [f"{name}/{dataset}" for name, dataset in zip(names, COPIES, strict=True)]
    config = {
        "models": {name: {"path": f"models/{name}"} for name in names},
        "datasets": datasets,
        "rollouts": {"runs": runs, "max_tokens": 8, "batch_size": 4},
        "activations": {"layers": [0, 1, 2, 3], "dtype": "float32"},
        "value_probes": {"runs": runs},
    }
    write_config(folder, config)
    return folder


def test_from_sources_to_grades_and_states(folder: Path) -> None:
    runs = [f"{family.replace('-', '_')}/{name}" for family, name in zip(PAPER_FAMILIES, COPIES, strict=True)]
    rollouts = [f"results/rollouts/{run}/0.parquet" for run in runs]
    states = [f"results/activations/{run}/0.safetensors" for run in runs]
    snakemake(folder, "--cores", "2", *rollouts, *states)
    assert all((folder / path).stat().st_size for path in states)
    for path in rollouts:
        found = pl.read_parquet(folder / path)
        assert len(found) == N and found["reward"].is_in([0, 1]).all()
        loose = (~found["truncated"]).to_list() if "ifeval" in path else [False] * N
        assert found["loose"].is_not_null().to_list() == loose
    for name in COPIES:
        problems = pl.read_parquet(folder / "results" / "problems" / name / "0.parquet")
        assert len(problems) == N
        assert problems["spec"].is_null().to_list() == [name in ("gsm8k", "math500", "minerva_math")] * N
    assert not list((folder / "results").rglob(".*.*"))


def test_a_source_that_changed_stops_before_any_work(folder: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(folder, tmp_path / "changed", ignore=shutil.ignore_patterns("results", ".snakemake"))
    frame = pl.read_parquet(changed / "hub/math500/default/test-00000-of-00001.parquet")
    frame[1:].vstack(frame[:1]).write_parquet(folder / "hub/math500/default/test-00000-of-00001.parquet")
    try:
        done = snakemake(changed, "--cores", "1", "results/problems/math500/0.parquet", check=False)
    finally:
        frame.write_parquet(folder / "hub/math500/default/test-00000-of-00001.parquet")
    assert done.returncode == 1
    assert "datasets.math500.content: 2624138889b76b9d" in done.stderr
    assert not (changed / "results" / "problems").exists() or not list((changed / "results" / "problems").rglob("*.*"))
