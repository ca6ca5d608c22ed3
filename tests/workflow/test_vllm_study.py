"""The same study on vLLM as on transformers: a reference model, through the workflow, record by record."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tests.unit.vllm_runs import needs_vllm
from tests.workflow.study import ROOT, copy_project, rules, snakemake, write_config

RUN = "grpo/ledger"
WANTED = [f"results/{name}/{RUN}/{shard}.parquet" for name in ("rollouts", "continuations") for shard in (0, 1)]
WANTED += [f"results/masked/{RUN}/2/{shard}.{kind}" for kind in ("parquet", "proofs.parquet") for shard in (0, 1)]


def configuration(engine: str) -> dict[str, Any]:
    """Sixty problems, thirty of them valued, two of a layer's neurons held in three ways."""
    probe = {"runs": [RUN], "hidden": 8, "epochs": 1, "shuffled_seeds": []}
    task = {"source": "reference", "task": "ledger", "n_problems": 60, "answer": "boxed_integer", "shard_size": 30}
    return {
        "models": {"grpo": {"path": "resources/models/grpo", "instruction": ""}},
        "datasets": {"ledger": task},
        "rollouts": {"runs": [RUN], "max_tokens": 256, "engine": engine},
        "values": {"runs": [RUN], "n_problems": 20, "shard_size": 10, "n_continuations": 4},
        "activations": {"layers": [2]},
        "value_probes": probe,
        "interventions": {
            "runs": [RUN],
            "layers": [2],
            "selections": ["value", "random"],
            "draws": 2,
            "dose_selections": [],
        },
    }


@needs_vllm
def test_the_records_of_both_engines_are_the_same(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "study")
    shutil.copytree(ROOT / "resources/models/grpo", folder / "resources/models/grpo")
    write_config(folder, configuration("transformers"))
    snakemake(folder, "--cores", "2", *WANTED)
    before = [pl.read_parquet(folder / path) for path in WANTED]
    write_config(folder, configuration("vllm"))
    again = rules(folder, "--cores", "2", *WANTED)
    assert again["sample_rollouts"] == again["continue_paragraphs"] == again["mask_neurons"] == 2
    snakemake(folder, "--cores", "2", *WANTED, real=True)
    for path, mine in zip(WANTED, before, strict=True):
        theirs = pl.read_parquet(folder / path)
        exact = [name for name in mine.columns if name not in ("logprobs", "processed", "changed", "origin")]
        assert theirs.select(exact).equals(mine.select(exact)), path
        if "logprobs" in mine.columns:
            far = (theirs["logprobs"].explode() - mine["logprobs"].explode()).abs().max()
            assert far is not None and far < 1e-3  # type: ignore[operator]
    proofs = pl.read_parquet(folder / WANTED[-1])
    assert (proofs["changed"] == proofs["processed"]).all() and (proofs["processed"] > 1000).all()
    assert (proofs["largest_miss"] == 0).all()
    assert leftovers(folder) == ""


def leftovers(folder: Path) -> str:
    """Processes that still work in the study's folder."""
    return subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout


def test_an_engine_that_is_not_installed_is_one_line(tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "study")
    shutil.copytree(ROOT / "resources/models/grpo", folder / "resources/models/grpo")
    write_config(folder, configuration("vllm"))
    (folder / "vllm.py").write_text("raise ImportError('no such thing here')\n")
    failed = snakemake(folder, "--cores", "1", "results/samples/grpo/ledger/0.parquet", check=False, real=True)
    line = (
        "error: rollouts.engine: vllm cannot be imported (no such thing here); run `make vllm` or choose transformers"
    )
    assert failed.returncode != 0 and line in failed.stderr
    assert not list(folder.glob("results/samples/**/*.parquet"))


@pytest.mark.parametrize("engine", ["fast", ""])
def test_an_unknown_engine_is_refused_before_work_starts(engine: str, tmp_path: Path) -> None:
    folder = copy_project(tmp_path / "study")
    write_config(folder, configuration(engine))
    failed = snakemake(folder, "--dry-run", check=False)
    assert "rollouts.engine" in failed.stderr and yaml.safe_load((folder / "config.yaml").read_text())
