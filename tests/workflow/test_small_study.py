"""Ten problems are too few for a claim: the whole study runs to its report all the same, and says so."""

from pathlib import Path
from typing import Any

import polars as pl

from tests.workflow.study import configuration, make_study, snakemake, write_config, write_problems

N_PROBLEMS = 10


def shrunk(config: Any) -> Any:
    """The configuration with every `n_problems` at ten (those left open stay open) and few bootstrap draws."""
    if isinstance(config, list):
        return [shrunk(item) for item in config]
    if not isinstance(config, dict):
        return config
    small = {key: shrunk(item) for key, item in config.items()}
    if small.get("n_problems") is not None:
        small["n_problems"] = N_PROBLEMS
    return small | ({"bootstrap": 20} if "bootstrap" in small else {})


def test_ten_problems_give_a_report_that_claims_next_to_nothing(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study")
    config = shrunk(configuration())
    assert config["datasets"]["coins"]["n_problems"] == config["values"]["n_problems"] == N_PROBLEMS
    write_problems(folder / "data" / "coins.jsonl", N_PROBLEMS)
    write_config(folder, config)
    snakemake(folder, "--cores", "2")
    problems = pl.read_parquet(folder / "results" / "problems" / "coins" / "0.parquet")
    assert len(problems) == N_PROBLEMS and set(problems["split"]) == {"train", "validation"}
    page = (folder / "results" / "report.html").read_text()
    assert 'src="http' not in page and "undecided" in page.lower()
    claims = pl.read_parquet(folder / "results" / "tables" / "claims.parquet")
    assert {"claim", "verdict", "evidence", "test"} <= set(claims.columns)
    assert len(claims) >= 12 and claims.select("claim", "evidence", "test").null_count().sum_horizontal().item() == 0
    decided = claims.filter(pl.col("verdict") != "undecided")
    assert len(decided) <= 2, decided.select("claim", "verdict", "evidence").to_dicts()
