"""Table 4 and its contrasts, on answers whose accuracies and differences are known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sides import side, sides

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.search.answer_tables import SCHEMA
from workflow_scripts.lib.statistics.intervals import wilson
from workflow_scripts.lib.statistics.paired import mcnemar
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.tabulate_search import main

METHODS = ["dopamine", "random", "greedy"]
PRUNING = {"confidence": 0.95, "bootstrap": 400, "seed": 0}


def answers(right: dict[str, list[int]], seed: int, tokens: dict[str, int], reverse: bool = False) -> pl.DataFrame:
    rows = [
        (method, f"p-{i:03d}", seed, [1], "x", reward, "stop" if i else "length", tokens[method], 2, 8, 0.5, [0.1])
        for method, rewards in right.items()
        for i, reward in enumerate(rewards)
    ]
    return pl.DataFrame(rows[::-1] if reverse else rows, schema=SCHEMA, orient="row")


def run(folder: Path, seeds: list[int], methods: list[str] = METHODS) -> dict[str, pl.DataFrame]:
    params = {"search": {"methods": methods, "seeds": seeds}, "pruning": PRUNING}
    files = sorted(map(str, folder.glob("search/*/*/*.parquet")), reverse=True)
    scores = ["--scores", str(folder / "scores.parquet")]
    main(["--params", json.dumps(params), "--search", *files, *scores, "--output-dir", str(folder / "tables")])
    return {name: pl.read_parquet(folder / "tables" / f"{name}.parquet") for name in ("table4", "search_contrasts")}


def write(folder: Path, seed: int, right: dict[str, list[int]], reverse: bool = False, model: str = "grpo") -> None:
    spent = {"dopamine": 40, "random": 40, "greedy": 10}
    frame = answers(right, seed, spent, reverse)
    write_parquet(frame, folder / "search" / model / "ledger" / f"{seed}.parquet")


def known(seed: int) -> dict[str, list[int]]:
    """Of 40 problems, `dopamine` solves 30, or 34 under seed 1; `random` 10; `greedy` the 30 that come last."""
    n = 34 if seed else 30
    return {"dopamine": [1] * n + [0] * (40 - n), "random": [1] * 10 + [0] * 30, "greedy": [0] * 10 + [1] * 30}


def test_known_accuracies_costs_and_differences(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path, seed, known(seed), reverse=bool(seed))
    found = run(tmp_path, [0, 1])
    table = found["table4"]
    assert table.select("method", "seed").rows() == [(m, s) for m in METHODS for s in (0, 1, None)]
    low, high = wilson(34, 40)
    row = table.row(1, named=True)
    assert (row["model"], row["dataset"], row["n"], row["reason"]) == ("grpo", "ledger", 40, None)
    assert (row["accuracy"], row["ci_low"], row["ci_high"]) == pytest.approx((0.85, float(low), float(high)))
    assert (row["tokens"], row["seconds"], row["mean_steps"], row["mean_drawn"]) == (40.0, 20.0, 2.0, 8.0)
    assert row["finished"] == pytest.approx(39 / 40)
    random, greedy = found["search_contrasts"].to_dicts()
    assert (random["against"], random["n"], random["n_seeds"]) == ("random", 40, 2)
    assert random["difference"] == pytest.approx(0.8 - 0.25) and random["accuracy"] == pytest.approx(0.8)
    assert random["ci_low"] < 0.55 < random["ci_high"] and random["p_value"] < 0.001
    assert side(random) == "above" and random["tokens_ratio"] == pytest.approx(1.0)
    assert greedy["difference"] == pytest.approx(0.05) and greedy["tokens_ratio"] == pytest.approx(4.0)
    assert side(greedy) == "both" and greedy["p_value"] > 0.1
    assert "method,seed" in (tmp_path / "tables" / "table4.csv").read_text()


def test_the_mean_over_seeds_resamples_problems_with_seeds_averaged_within_each(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path / "other", seed, known(seed))
        write(tmp_path / "same", seed, known(0))
    other, same = (
        run(tmp_path / name, [0, 1])["table4"].filter(pl.col("seed").is_null(), pl.col("method") == "dopamine")
        for name in ("other", "same")
    )
    row, again = other.row(0, named=True), same.row(0, named=True)
    assert (row["n"], row["accuracy"], row["seconds"], row["tokens"]) == (40, 0.8, 20.0, 40.0)
    # 30 problems solved under both seeds, 4 under one, 6 under none; t with 39 degrees of freedom. There is more room
    # below, as in Wilson's interval.
    half = 2.023 * np.sqrt((30 * 0.2**2 + 4 * 0.3**2 + 6 * 0.8**2) / 40 / 39)
    assert row["ci_high"] - row["ci_low"] == pytest.approx(2 * half, rel=0.1)
    assert 0.8 - row["ci_low"] > row["ci_high"] - 0.8
    # A second seed that says the same makes nothing more certain.
    low, high = wilson(30, 40)
    assert (again["ci_low"], again["ci_high"]) == pytest.approx((float(low), float(high)), abs=0.03)


def test_the_table_is_computed_from_the_scores_and_durations_are_none_of_them(tmp_path: Path) -> None:
    for seed in (0, 1):
        write(tmp_path, seed, known(seed))
    table, scores = run(tmp_path, [0, 1])["table4"], pl.read_parquet(tmp_path / "scores.parquet")
    means = scores.group_by("method", "seed").agg(pl.col("reward", "tokens", "steps", "drawn").mean())
    both = table.drop_nulls("seed").join(means, on=["method", "seed"], suffix="_of_scores")
    assert len(both) == 6 and both["accuracy"].to_list() == pytest.approx(both["reward"].to_list())
    assert both["mean_drawn"].equals(both["drawn"]) and "seconds" not in scores.columns


def test_one_seed_is_tested_by_mcnemar_and_order_changes_nothing(tmp_path: Path) -> None:
    for name, reverse in (("a", False), ("b", True)):
        write(tmp_path / name, 0, known(0), reverse)
    first, second = run(tmp_path / "a", [0]), run(tmp_path / "b", [0])
    assert all(first[name].equals(second[name]) for name in first)
    greedy = first["search_contrasts"].row(1, named=True)
    ours, theirs = (pl.Series(known(0)[name]).to_numpy() > 0 for name in ("dopamine", "greedy"))
    assert greedy["p_value"] == pytest.approx(mcnemar(theirs, ours))


def test_no_difference_at_all_has_no_interval_and_says_why(tmp_path: Path) -> None:
    write(tmp_path, 0, {name: [1, 0, 1] for name in METHODS})
    row = run(tmp_path, [0])["search_contrasts"].row(0, named=True)
    assert (row["difference"], row["ci_low"], row["p_value"]) == (0.0, None, 1.0)
    assert row["reason"] == "every resample gives the same number: no interval"


def test_no_validation_problems_no_runs_and_no_dopamine(tmp_path: Path) -> None:
    write(tmp_path / "none", 0, {})
    found = run(tmp_path / "none", [0])
    assert set(found["table4"]["reason"]) == {"no validation problems"} and len(found["table4"]) == 3 * 2
    assert found["table4"]["accuracy"].null_count() == 3 * 2
    assert set(sides(found["search_contrasts"])) == {"none"}
    empty = run(tmp_path / "empty", [0])
    assert all(frame.is_empty() for frame in empty.values()) and empty["table4"].columns == found["table4"].columns
    assert empty["search_contrasts"].schema["reason"] == pl.String
    write(tmp_path / "plain", 0, {"random": [1, 0]})
    plain = run(tmp_path / "plain", [0], ["random"])
    assert len(plain["table4"]) == 2 and plain["search_contrasts"].is_empty()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"random": [1] * 39}, r"results/search/grpo/ledger: random, seed 0: 39 responses to 40 problems; delete"),
        ({"greedy": []}, r"greedy, seed 0: 0 responses to 40 problems"),
    ],
)
def test_methods_that_did_not_answer_the_same_problems_are_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    write(tmp_path, 0, known(0) | change)
    with pytest.raises(UserError, match=said):
        run(tmp_path, [0])
    with pytest.raises(UserError, match=r"no file of seed 3; delete the folder and run again"):
        run(tmp_path, [0, 3])
