"""Rows of Table 3, of the contrasts between methods, and of the reliability diagram."""

import argparse
from dataclasses import replace

import numpy as np
import polars as pl

from workflow_scripts.lib.confidence import tables
from workflow_scripts.lib.confidence.calibration import two_sided
from workflow_scripts.lib.confidence.methods import BASELINES, CHOSEN_ON, METHODS, VALUE_METHODS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.statistics.intervals import Estimate, wilson
from workflow_scripts.lib.storage.identity import Run, group_by_run
from workflow_scripts.lib.storage.result_tables import ALL, with_columns
from workflow_scripts.lib.storage.tables import read_parquet

Runs = dict[Run, tables.ConfidenceRun]
Choices = dict[Run, pl.DataFrame]
"""What `predict_confidence` chose in each run, by method, layer and probe."""
Drawings = dict[str, tables.Drawn]
"""Each measure's number and draws."""
TABLE_COLUMNS = [
    *("model", "dataset", "method", "auc", "ci_low", "ci_high", "brier", "ece", "auc_within_length", "n", "n_right"),
    *("brier_low", "brier_high", "ece_low", "ece_high", "auc_within_low", "auc_within_high"),
    *("layers", "prune_ratios", "chosen_on", "reason"),
]
CONTRAST_COLUMNS = [
    *("model", "dataset", "method", "against", "chosen_on", "n", "difference", "ci_low", "ci_high", "p_value"),
    "reason",
]
RELIABILITY_COLUMNS = [
    *("model", "dataset", "method", "bin", "low", "high", "mean_probability", "share_right", "ci_low", "ci_high"),
    *("n", "reason"),
]
SCORE_COLUMNS = [
    *("model", "dataset", "method", "layer", "seed", "problem_id", "sample", "reward", "score", "probability"),
    *("prompt_tokens", "undefined"),
]
CONSTANT = "all scores are equal: no interval"


def read_scores(arguments: argparse.Namespace) -> tuple[pl.DataFrame, Choices]:
    """Read the score of every method, layer and probe on every validation response, and the choices of each run.

    A method without scores has the reason in `undefined`.

    Raises:
        UserError: a run's choices are not given.
    """
    choices = group_by_run(arguments.choices, "shard")
    frames, chosen = [], {}
    for name, paths in sorted(group_by_run(arguments.predictions, "file").items()):
        if name not in choices:
            raise UserError(f"--choices: no file {'/'.join(name)}/choices.parquet; pass the choices of every run")
        chosen[name] = read_parquet(choices[name])
        rows = read_parquet(paths).filter(pl.col("split") == "validation")
        reasons = chosen[name].select("method", "layer", "seed", "undefined")
        frame = rows.join(reasons, on=["method", "layer", "seed"], how="left", nulls_equal=True, maintain_order="left")
        frames.append(frame.with_columns(model=pl.lit(name[0]), dataset=pl.lit(name[1])).select(SCORE_COLUMNS))
    return with_columns(pl.concat(frames) if frames else [], SCORE_COLUMNS), chosen


def runs_of(scores: pl.DataFrame, chosen: Choices, how: tables.MeasureSettings) -> Runs:
    """Build the runs from the table of scores, in the order of their names.

    Raises:
        UserError: a run's scores and choices do not belong together.
    """
    of_run = {
        name: scores.filter(pl.col("model") == name[0], pl.col("dataset") == name[1])  # a run may have no responses
        for name in chosen
    }
    return {name: tables.run_of(rows, chosen[name], name, how) for name, rows in of_run.items()}


def columns_of(estimates: dict[str, Estimate]) -> dict[str, object]:
    """Return the numbers of a row and their limits."""
    row: dict[str, object] = {}
    for name, one in estimates.items():
        stem = {"auc": "ci", "auc_within_length": "auc_within"}.get(name, name)
        row |= {name: one.value, f"{stem}_low": one.low, f"{stem}_high": one.high}
    return row


def all_equal(run: tables.ConfidenceRun, method: str) -> bool:
    """Say whether a method gives all responses the same score."""
    scores = run.methods[method].scores
    return bool(scores.size and (np.nanmax(scores, axis=1) == np.nanmin(scores, axis=1)).all())


def method_row(
    run: tables.ConfidenceRun, method: str, drawn: Drawings, how: tables.MeasureSettings
) -> dict[str, object]:
    """Return numbers, responses and reasons of one method of one run."""
    estimates = {key: tables.settle(one, how) for key, one in drawn.items()}
    if estimates["auc"].value is not None and all_equal(run, method):
        estimates |= {key: replace(estimates[key], reason=CONSTANT) for key in ("auc", "auc_within_length")}
    correct = run.correct[run.methods[method].known]
    partly = None
    if estimates["auc"].value is not None and len(correct) < len(run.correct):
        partly = f"{len(correct)} of {len(run.correct)} validation responses have a score"
    row: dict[str, object] = {"method": method, "n": len(correct), "n_right": int(correct.sum())}
    reason = "; ".join(filter(None, [partly, tables.reasons(estimates)]))
    return row | columns_of(estimates) | {"reason": reason or None}


def mean_row(
    runs: Runs, method: str, drawn: dict[tuple[str, str], Drawings], how: tables.MeasureSettings
) -> dict[str, object]:
    """Return the mean of one method over all runs."""
    each = {key: tables.mean_over({name: one[key] for name, one in drawn.items()}) for key in tables.MEASURES}
    estimates = {key: tables.settle(one, how) for key, one in each.items()}
    correct = np.concatenate([run.correct[run.methods[method].known] for run in runs.values()])
    row: dict[str, object] = {"model": ALL, "dataset": ALL, "method": method, "n": len(correct)}
    row |= {"n_right": int(correct.sum()), "chosen_on": CHOSEN_ON[method]}
    return row | columns_of(estimates) | {"reason": tables.reasons(estimates)}


def method_rows(runs: Runs, chosen: Choices, how: tables.MeasureSettings) -> list[dict[str, object]]:
    """Return Table 3: a row for each run and method, and one for their mean."""
    rows: list[dict[str, object]] = []
    means: list[dict[str, object]] = []
    drawn = {name: {method: tables.measure(run, method, how) for method in METHODS} for name, run in runs.items()}
    for name, run in runs.items():
        names: dict[str, object] = {"model": name[0], "dataset": name[1]}
        for method in METHODS:
            row = names | method_row(run, method, drawn[name][method], how)
            rows.append(row | tables.texts(chosen[name], method))
    for method in METHODS if runs else []:
        means.append(mean_row(runs, method, {name: drawn[name][method] for name in runs}, how))
    return rows + means


def contrast_rows(runs: Runs, how: tables.MeasureSettings) -> list[dict[str, object]]:
    """Compare both methods on value neurons with every baseline, with the two-sided p-value of the paired bootstrap.

    `n` counts the validation responses of the run; for the mean over runs, of the smallest.
    """
    rows: list[dict[str, object]] = []
    sizes = {name: len(run.correct) for name, run in runs.items()}
    for method in VALUE_METHODS:
        for against in BASELINES:
            each = {name: tables.difference(run, method, against) for name, run in runs.items()}
            whole = {(ALL, ALL): tables.mean_over(each)} if each else {}
            for name, drawn in (each | whole).items():
                interval = tables.settle(drawn, how)
                row: dict[str, object] = {"model": name[0], "dataset": name[1], "method": method, "against": against}
                row |= {"n": sizes.get(name, min(sizes.values()))}
                row["chosen_on"] = CHOSEN_ON[method]
                row |= {"reason": interval.reason, "difference": interval.value}
                row |= {"ci_low": interval.low, "ci_high": interval.high}
                p_value = None if interval.low is None else two_sided(drawn.numbers[1:])
                rows.append(row | {"p_value": p_value})
    place = {(*name,): i for i, name in enumerate([*runs, (ALL, ALL)])}
    return sorted(rows, key=lambda row: place[row["model"], row["dataset"]])  # type: ignore[index]


def reliability_rows(runs: Runs, how: tables.MeasureSettings) -> list[dict[str, object]]:
    """Return a row for each bin of each method; where there are no probabilities, one row that says why.

    `low` and `high` are the least and the greatest probability in the bin. Intervals are Wilson's. Where problems have
    several responses, each problem counts as one trial.
    """
    rows: list[dict[str, object]] = []
    for name, run in runs.items():
        for method, scores in run.methods.items():
            row = {"model": name[0], "dataset": name[1], "method": method}
            known = scores.known & ~np.isnan(scores.probabilities)
            if scores.undefined or scores.uncalibrated or not known.any():
                why = scores.undefined or scores.uncalibrated or "no validation responses"
                rows.append(row | {"n": 0, "reason": why})
                continue
            chances, correct = scores.probabilities[known], run.correct[known]
            inside = tables.bins_of(run, chances, how)
            for number in np.unique(inside):
                in_bin = inside == number
                numbers = bin_numbers(chances[in_bin], correct[in_bin], run.samples, how.confidence)
                rows.append(row | {"bin": int(number), "n": int(in_bin.sum())} | numbers)
    return rows


def bin_numbers(chances: np.ndarray, correct: np.ndarray, samples: float, confidence: float) -> dict[str, object]:
    """Return the range and the mean of the probabilities in a bin, and the share of correct responses."""
    trials = len(correct) / samples
    low, high = wilson(correct.mean() * trials, trials, confidence)
    return {
        "low": float(chances.min()),
        "high": float(chances.max()),
        "mean_probability": float(chances.mean()),
        "share_right": float(correct.mean()),
        "ci_low": float(low),
        "ci_high": float(high),
    }
