"""Table 4 and the contrasts between methods of search, from the reward and the cost of every response."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.search.methods import METHODS
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import bootstrap_mean
from workflow_scripts.lib.statistics.estimands import ACCURACY
from workflow_scripts.lib.statistics.intervals import Resampling, wilson
from workflow_scripts.lib.statistics.joint import mean_cell
from workflow_scripts.lib.statistics.joint_intervals import interval
from workflow_scripts.lib.statistics.paired import mcnemar, sign_flips
from workflow_scripts.lib.statistics.samples import Sample, by_problem, size_of
from workflow_scripts.lib.storage.identity import Run, group_by_run
from workflow_scripts.lib.storage.result_tables import with_columns
from workflow_scripts.lib.storage.tables import read_parquet

TABLE_COLUMNS = [
    *("model", "dataset", "method", "seed", "n", "accuracy", "ci_low", "ci_high", "tokens", "seconds", "mean_steps"),
    *("mean_drawn", "finished", "reason"),
]
CONTRAST_COLUMNS = [
    *("model", "dataset", "method", "against", "n_seeds", "n", "accuracy", "accuracy_other", "difference", "ci_low"),
    *("ci_high", "p_value", "tokens_ratio", "reason"),
]
SCORE_COLUMNS = [
    *("model", "dataset", "method", "seed", "problem_id", "reward", "tokens", "steps", "drawn", "finish_reason"),
]
SCORES = "search"
"""The table of scores: the reward and the cost of every response, except the seconds, which no two runs have alike."""
GUIDE = "dopamine"
NOBODY = "no validation problems"


def mean_of(part: pl.DataFrame, name: str) -> float | None:
    """Return the mean of a column; None without rows."""
    return None if part.is_empty() else float(part[name].cast(pl.Float64).to_numpy().mean())


def table_row(run: Run, method: str, seed: int, part: pl.DataFrame, how: Resampling) -> dict[str, object]:
    """Return the row of one method under one seed.

    It has the accuracy with Wilson's interval, and means over problems of the costs.
    """
    n = len(part)
    row: dict[str, object] = {"model": run[0], "dataset": run[1], "method": method, "seed": seed, "n": n}
    row |= {"accuracy": mean_of(part, "reward"), "tokens": mean_of(part, "tokens"), "seconds": part["seconds"].sum()}
    row |= {"mean_steps": mean_of(part, "steps"), "mean_drawn": mean_of(part, "drawn")}
    finished = part.select(whole=pl.col("finish_reason") == "stop")
    row |= {"finished": mean_of(finished, "whole"), "reason": None if n else NOBODY}
    if n:
        low, high = wilson(int(part["reward"].cast(pl.Int64).sum()), n, how.confidence)
        row |= {"ci_low": float(low), "ci_high": float(high)}
    return row


def mean_row(run: Run, method: str, part: pl.DataFrame, sample: Sample, how: Resampling) -> dict[str, object]:
    """Return the mean over seeds of one method, `seed` empty.

    Its interval resamples problems, with seeds averaged within each; costs are means over seeds.
    """
    n_seeds = max(part["seed"].n_unique(), 1)
    row = table_row(run, method, 0, part, how) | {"seed": None, "seconds": part["seconds"].sum() / n_seeds}
    row |= {"n": len(part) // n_seeds, "ci_low": None, "ci_high": None}
    if part.is_empty():
        return row
    problems, rewards = by_problem(sample, run[1], part, "reward")
    level = mean_cell(rewards, sample.weights(run[1], problems))[0]
    found = interval(ACCURACY, [size_of(problems)], (), level, how.confidence)
    return row | {"ci_low": found.low, "ci_high": found.high}


def matrix(part: pl.DataFrame, name: str) -> np.ndarray:
    """Return a column as [problems, seeds], both in order."""
    ordered = part.sort("problem_id", "seed")
    return ordered[name].cast(pl.Float64).to_numpy().reshape(-1, max(ordered["seed"].n_unique(), 1))


def contrast_row(
    run: Run, guide: pl.DataFrame, other: pl.DataFrame, against: str, how: Resampling
) -> dict[str, object]:
    """Compare the guided search with another method: the difference of accuracies.

    Problems are the unit; seeds are averaged within each problem.
    """
    guided, others = matrix(guide, "reward"), matrix(other, "reward")
    n, seeds = guided.shape if len(guide) else (0, 0)
    row: dict[str, object] = {"model": run[0], "dataset": run[1], "method": GUIDE, "against": against}
    row |= {"n_seeds": seeds, "n": n}
    if not n:
        return row | {"reason": NOBODY}
    differences = (guided - others).mean(1)
    interval = bootstrap_mean(differences, np.arange(n), how.resamples, generator(how.seed, "search"), how.confidence)
    if seeds == 1:
        p_value = mcnemar(others[:, 0] > 0, guided[:, 0] > 0)
    else:
        p_value = sign_flips(differences, generator(how.seed, "flips"))
    spent = float(matrix(other, "tokens").mean())
    row |= {"accuracy": float(guided.mean()), "accuracy_other": float(others.mean()), "difference": interval.value}
    row |= {"ci_low": interval.low, "ci_high": interval.high, "p_value": p_value}
    row |= {"tokens_ratio": float(matrix(guide, "tokens").mean()) / spent if spent else None}
    reasons = [interval.reason, None if spent else "tokens_ratio: the other method wrote no tokens"]
    return row | {"reason": "; ".join(reason for reason in reasons if reason) or None}


def read_run(run: Run, paths: Sequence[Path], methods: Sequence[str], seeds: Sequence[int]) -> pl.DataFrame:
    """Read the responses of all configured methods and seeds of a run, the same problems under each.

    Raises:
        UserError: a method or seed is missing, or methods answered different problems.
    """
    table = read_parquet(paths).filter(pl.col("method").is_in(methods), pl.col("seed").is_in(seeds))
    where = f"results/search/{run[0]}/{run[1]}"
    present = {int(path.stem) for path in paths if path.stem.isdigit()}
    if missing := sorted(set(seeds) - present):
        raise UserError(f"{where}: no file of seed {missing[0]}; delete the folder and run again")
    problems = set(table["problem_id"])
    for method in methods:
        for seed in seeds:
            part = table.filter((pl.col("method") == method) & (pl.col("seed") == seed))
            if len(part) != len(problems) or set(part["problem_id"]) != problems:
                counts = f"{method}, seed {seed}: {len(part)} responses to {len(problems)} problems"
                raise UserError(f"{where}: {counts}; delete {where}/{seed}.parquet and run again")
    return table


def tabulate(
    paths: Sequence[Path], methods: Sequence[str], seeds: Sequence[int], how: Resampling
) -> dict[str, pl.DataFrame]:
    """Return both tables and the scores, runs in the order of their names, methods in that of `METHODS`."""
    rows: list[dict[str, object]] = []
    contrasts: list[dict[str, object]] = []
    ordered = sorted(methods, key=METHODS.index)
    read = {run: read_run(run, files, ordered, seeds) for run, files in sorted(group_by_run(paths, "shard").items())}
    scores = [table.with_columns(model=pl.lit(run[0]), dataset=pl.lit(run[1])) for run, table in read.items()]
    table = with_columns(pl.concat(scores) if scores else [], [*SCORE_COLUMNS, "seconds"])
    sample = Sample.of(SCORES, table, how)
    for run in read:
        of_run = table.filter(pl.col("model") == run[0], pl.col("dataset") == run[1])
        parts = {method: of_run.filter(pl.col("method") == method) for method in ordered}
        for method, part in parts.items():
            rows += [table_row(run, method, seed, part.filter(pl.col("seed") == seed), how) for seed in sorted(seeds)]
            rows.append(mean_row(run, method, part, sample, how))
        for against in ordered if GUIDE in ordered else []:
            if against != GUIDE:
                contrasts.append(contrast_row(run, parts[GUIDE], parts[against], against, how))
    return {
        "table4": with_columns(rows, TABLE_COLUMNS),
        "search_contrasts": with_columns(contrasts, CONTRAST_COLUMNS),
        SCORES: table.select(SCORE_COLUMNS),
    }
