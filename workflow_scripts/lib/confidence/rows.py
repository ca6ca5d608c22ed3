"""Rows of Table 3, of the contrasts between methods, and of the reliability diagram."""

import argparse
from dataclasses import replace

import numpy as np
import polars as pl

from workflow_scripts.lib.confidence import tables
from workflow_scripts.lib.confidence.calibration import bin_of, two_sided
from workflow_scripts.lib.confidence.methods import BASELINES, CHOSEN_ON, METHODS, VALUE_METHODS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.statistics.intervals import Estimate, wilson
from workflow_scripts.lib.storage.identity import group_by_run
from workflow_scripts.lib.storage.tables import read_parquet

Runs = dict[tuple[str, str], tables.Run]
Drawings = dict[str, tables.Drawn]
"""Each measure's number and draws."""
TABLE_COLUMNS = [
    *("model", "dataset", "method", "auc", "ci_low", "ci_high", "brier", "ece", "auc_within_length", "n", "n_right"),
    *("brier_low", "brier_high", "ece_low", "ece_high", "auc_within_low", "auc_within_high"),
    *("layers", "prune_ratios", "chosen_on", "reason"),
]
CONTRAST_COLUMNS = [
    *("model", "dataset", "method", "against", "chosen_on", "n", "difference", "ci_low", "ci_high", "p_value"),
    *("verdict", "reason"),
]
RELIABILITY_COLUMNS = [
    *("model", "dataset", "method", "bin", "low", "high", "mean_probability", "share_right", "ci_low", "ci_high"),
    *("n", "reason"),
]
CONSTANT = "all scores are equal: no interval"


def read_runs(arguments: argparse.Namespace, how: tables.Measure) -> tuple[Runs, dict[tuple[str, str], pl.DataFrame]]:
    """Runs and what was chosen in them, in the order of their names.

    Raises:
        UserError: a run's choices are not given.
    """
    choices = group_by_run(arguments.choices, "shard")
    runs, chosen = {}, {}
    for name, paths in sorted(group_by_run(arguments.predictions, "file").items()):
        if name not in choices:
            raise UserError(f"--choices: no file {'/'.join(name)}/choices.parquet; pass the choices of every run")
        chosen[name] = read_parquet(choices[name])
        runs[name] = tables.read_run(read_parquet(paths), chosen[name], name, how)
    return runs, chosen


def columns_of(found: dict[str, Estimate]) -> dict[str, object]:
    """The numbers of a row and their limits."""
    row: dict[str, object] = {}
    for name, one in found.items():
        stem = {"auc": "ci", "auc_within_length": "auc_within"}.get(name, name)
        row |= {name: one.value, f"{stem}_low": one.low, f"{stem}_high": one.high}
    return row


def all_equal(run: tables.Run, method: str) -> bool:
    """Whether a method tells no two responses apart."""
    scores = run.methods[method].scores
    return bool(scores.size and (np.nanmax(scores, axis=1) == np.nanmin(scores, axis=1)).all())


def method_row(run: tables.Run, method: str, drawn: Drawings, how: tables.Measure) -> dict[str, object]:
    """Numbers, responses and reasons of one method of one run."""
    found = {key: tables.settle(one, how) for key, one in drawn.items()}
    if found["auc"].value is not None and all_equal(run, method):
        found |= {key: replace(found[key], reason=CONSTANT) for key in ("auc", "auc_within_length")}
    right = run.right[run.methods[method].known]
    partly = None
    if found["auc"].value is not None and len(right) < len(run.right):
        partly = f"{len(right)} of {len(run.right)} validation responses have a score"
    row: dict[str, object] = {"method": method, "n": len(right), "n_right": int(right.sum())}
    reason = "; ".join(filter(None, [partly, tables.reasons(found)]))
    return row | columns_of(found) | {"reason": reason or None}


def mean_row(runs: Runs, method: str, drawn: dict[tuple[str, str], Drawings], how: tables.Measure) -> dict[str, object]:
    """The mean of one method over all runs."""
    each = {key: tables.mean_over({name: one[key] for name, one in drawn.items()}) for key in tables.MEASURES}
    found = {key: tables.settle(one, how) for key, one in each.items()}
    rights = np.concatenate([run.right[run.methods[method].known] for run in runs.values()])
    row: dict[str, object] = {"model": tables.ALL, "dataset": tables.ALL, "method": method, "n": len(rights)}
    row |= {"n_right": int(rights.sum()), "chosen_on": CHOSEN_ON[method]}
    return row | columns_of(found) | {"reason": tables.reasons(found)}


def method_rows(
    runs: Runs, chosen: dict[tuple[str, str], pl.DataFrame], how: tables.Measure
) -> list[dict[str, object]]:
    """Table 3: a row for each run and method, and one for their mean."""
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


def contrast_rows(runs: Runs, how: tables.Measure) -> list[dict[str, object]]:
    """Both methods on value neurons against every baseline. The p-value is that of the paired bootstrap, two-sided.

    `n` counts the validation responses of the run; for the mean over runs, of the smallest.
    """
    rows: list[dict[str, object]] = []
    sizes = {name: len(run.right) for name, run in runs.items()}
    for method in VALUE_METHODS:
        for against in BASELINES:
            each = {name: tables.difference(run, method, against) for name, run in runs.items()}
            whole = {(tables.ALL, tables.ALL): tables.mean_over(each)} if each else {}
            for name, drawn in (each | whole).items():
                found = tables.settle(drawn, how)
                row: dict[str, object] = {"model": name[0], "dataset": name[1], "method": method, "against": against}
                row |= {"n": sizes.get(name, min(sizes.values()))}
                row |= {"chosen_on": CHOSEN_ON[method], "verdict": tables.judge_better(found), "reason": found.reason}
                row |= {"difference": found.value, "ci_low": found.low, "ci_high": found.high}
                p_value = None if found.low is None else two_sided(drawn.numbers[1:])
                rows.append(row | {"p_value": p_value})
    place = {(*name,): i for i, name in enumerate([*runs, (tables.ALL, tables.ALL)])}
    return sorted(rows, key=lambda row: place[row["model"], row["dataset"]])  # type: ignore[index]


def reliability_rows(runs: Runs, how: tables.Measure) -> list[dict[str, object]]:
    """A row for each bin of each method; where there are no probabilities, one row that says why.

    Intervals are Wilson's. Where problems have several responses, each problem counts as one trial.
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
            chances, right = scores.probabilities[known], run.right[known]
            inside = bin_of(chances, how.bins)
            for number in range(how.bins):
                mine = inside == number
                edges = {"bin": number, "low": number / how.bins, "high": (number + 1) / how.bins, "n": int(mine.sum())}
                numbers = bin_numbers(chances[mine], right[mine], run.samples, how.confidence)
                rows.append(row | edges | numbers)
    return rows


def bin_numbers(chances: np.ndarray, right: np.ndarray, samples: float, confidence: float) -> dict[str, object]:
    """Mean probability and share right of the responses in a bin."""
    if not len(right):
        return {"reason": "no responses in this bin"}
    trials = len(right) / samples
    low, high = wilson(right.mean() * trials, trials, confidence)
    return {
        "mean_probability": float(chances.mean()),
        "share_right": float(right.mean()),
        "ci_low": float(low),
        "ci_high": float(high),
    }
