"""Adaptive continuations through the real workflow: a finished study with a fixed number changes to them."""

from pathlib import Path

import polars as pl
import yaml

from tests.workflow.study import snakemake

SHARDS, VALUES = "results/continuations/tiny/coins", "results/values/tiny/coins.parquet"


def test_uncertain_boundaries_get_more_than_the_first_continuations(study: Path) -> None:
    config = yaml.safe_load((study / "config.yaml").read_text())
    fixed = pl.read_parquet(study / SHARDS / "*.parquet")
    assert config["values"]["n_continuations"] == 4 == fixed["continuation"].max() + 1  # type: ignore[operator]
    config["values"]["adaptive"] = {"first": 4, "budget": 9, "half_width": 0.3}
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    snakemake(study, "--cores", "2", VALUES)
    drawn, values = pl.read_parquet(study / SHARDS / "*.parquet"), pl.read_parquet(study / VALUES)
    assert drawn.filter(pl.col("continuation") < 4).equals(fixed)
    sampled = values.filter(pl.col("n") > 0)
    assert {4, 9} <= set(sampled["n"]) <= {4, 6, 9}
    assert sampled["n"].sum() == len(drawn)
    decided = (pl.col("n") == 4) == ((pl.col("n_right") == 0) | (pl.col("n_right") == pl.col("n")))
    assert sampled.filter(pl.col("n") < 9).select(decided.all()).item()
    log = (study / "results/logs/continue_paragraphs/tiny/coins/0.log").read_text()
    assert "boundaries that need more than 4, " in log
