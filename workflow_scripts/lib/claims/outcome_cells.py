"""Cells of outcomes: accuracy under ablation, confidence before the answer, guided search."""

from collections.abc import Mapping

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from workflow_scripts.lib.claims.scores import Scores
from workflow_scripts.lib.neurons.catalogue import is_random
from workflow_scripts.lib.statistics.cells import Cell, Members
from workflow_scripts.lib.statistics.intervals import Array
from workflow_scripts.lib.statistics.joint import auc_cell, paired_cell
from workflow_scripts.lib.statistics.samples import by_problem, size_of
from workflow_scripts.lib.storage.identity import Run

Parts = Mapping[tuple[int | None, int | None], pl.DataFrame]
"""The scores of a method, by layer and seed."""


def harm(scores: Scores, run: Run, layer: int, against: str | None) -> Cell | None:
    """Return accuracy with value neurons ablated less that with others ablated, or (None) with nothing ablated."""
    sample = scores.tables["masks"].sample
    value, others = (masked(scores, run, layer, name) for name in ("value", against or "value"))
    if not value or not others:
        return None
    problems, (rewards, unmasked) = by_problem(sample, run[1], value[0], "reward", "unmasked")
    other = np.stack([by_problem(sample, run[1], part, "reward")[1][0] for part in others])
    gaps = paired_cell(rewards - (unmasked if against is None else other), sample.of_problems(run[1], problems))
    size = size_of(problems, unmasked)
    if against is not None and is_random(against):
        return Cell(run, layer, size, (gaps,))
    return Cell(run, layer, size, fixed=gaps[0])


def masked(scores: Scores, run: Run, layer: int, selection: str) -> list[pl.DataFrame]:
    """Return the responses with a selection ablated as in Tables 2 and 5, one table a draw."""
    wanted = (*run, layer, selection, scores.share, scores.mode)
    return [part for key, part in scores.tables["masks"].parts.items() if key[:-1] == wanted]


def confidence(scores: Scores, run: Run, method: str, against: str) -> Cell | None:
    """Return the AUC of value neurons, a member a probe seed, less that of another method, on what both score."""
    parts = [predictions(scores, run, name) for name in (method, against)]
    known = scored_by_both(*parts)
    if not known.any():
        return None
    first, second = (levels(scores, run, name, known) for name in (method, against))
    rows = next(iter(parts[0].values())).filter(pl.Series(known))
    problems = scores.tables["confidence"].sample.rows(run[1], rows["problem_id"])
    return Cell(run, None, size_of(problems, rows["reward"].cast(pl.Float64).to_numpy()), (first,), -second.mean(0))


def scored_by_both(mine: Parts, theirs: Parts) -> Bool[Array, " responses"]:
    """Say which responses both methods score; none where one has no scores."""
    if not mine or not theirs:
        return np.zeros(0, bool)
    return np.asarray(~np.isnan(stacked(mine)).any(0) & ~np.isnan(stacked(theirs)).any(0))


def stacked(parts: Parts) -> Members:
    """Return the scores of each layer and seed: [parts, responses]."""
    return np.stack([part["score"] for part in parts.values()])


def levels(scores: Scores, run: Run, method: str, known: Array) -> Members:
    """Compute the AUC of a method on the responses that count, a member a probe seed, averaged over layers; once."""
    key = ("confidence", *run, method, known.tobytes())
    if key not in scores.levels:
        parts, sample = predictions(scores, run, method), scores.tables["confidence"].sample
        rows = next(iter(parts.values())).filter(pl.Series(known))
        weights = sample.weights(run[1], sample.rows(run[1], rows["problem_id"]))
        rewards = rows["reward"].cast(pl.Float64).to_numpy()
        of_layers = [
            auc_cell(stacked({at: part for at, part in parts.items() if at[0] == layer})[:, known], rewards, weights)
            for layer in dict.fromkeys(layer for layer, _ in parts)
        ]
        scores.levels[key] = np.mean(of_layers, axis=0)
    return scores.levels[key]


def predictions(scores: Scores, run: Run, method: str) -> Parts:
    """Return the scores of a method, by layer and seed; empty where it has none in this run."""
    parts = {
        key[3:]: part.with_columns(pl.col("score").fill_null(float("nan")))
        for key, part in scores.tables["confidence"].parts.items()
        if key[:3] == (*run, method)
    }
    defined = any(not part["score"].is_nan().all() for part in parts.values())
    return parts if defined else {}


def search(scores: Scores, run: Run, against: str) -> Cell | None:
    """Return accuracy of search by dopamine neurons less that of another method; seeds are averaged within problems."""
    parts, sample = scores.tables["search"].parts, scores.tables["search"].sample
    guided, other = (parts.get((*run, name)) for name in ("dopamine", against))
    if guided is None or other is None:
        return None
    problems, rewards = by_problem(sample, run[1], guided, "reward")
    _, others = by_problem(sample, run[1], other, "reward")
    gaps: Float[Array, "1 draws"] = paired_cell(rewards - others, sample.of_problems(run[1], problems))
    return Cell(run, None, size_of(problems, others[0]), fixed=gaps[0])
