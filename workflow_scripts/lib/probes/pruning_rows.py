"""Rows of the pruning tables: a metric of the scores of pruned probes, with intervals.

One row for each entry of the scores and prune ratio. Rows with seed -1 are the mean over the seeds on true labels, with
the bootstrap interval (over problems) of that mean. What is undefined is null, and `reason` says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from workflow_scripts.lib.config.sections import Pruning
from workflow_scripts.lib.probes.scores import NO_DRAW, About, Entry, Part
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import bootstrap_auc, bootstrap_spearman
from workflow_scripts.lib.statistics.intervals import estimate
from workflow_scripts.lib.statistics.ranks import auc, auc_undefined, round_ties, spearman, spearman_undefined

PruningRow = dict[str, Any]
METRICS = {"value": "auc", "dopamine": "spearman"}
MEAN_SEED = -1
MEAN: Entry = {"labels": "true", "seed": MEAN_SEED, "kept": "importance", "draw": NO_DRAW}


@dataclass(frozen=True)
class Metric:
    """AUC against rewards, or Spearman correlation with TD errors, on held-out data.

    `truth` [N], `problem_ids` [N]; `untrained` says why there is nothing to score, if the training data could
    not teach the probes anything.
    """

    name: str
    truth: Float[np.ndarray, " n"]
    problem_ids: Sequence[str]
    untrained: str | None = None

    def score(self, predicted: Float[np.ndarray, "*rows n"]) -> Float[np.ndarray, "*rows"]:
        """Return the metric of each row of predictions; NaN where undefined."""
        if self.untrained or len(self.truth) < (3 if self.name == "spearman" else 1):
            return np.full(predicted.shape[:-1], np.nan)
        predicted = round_ties(predicted)
        if self.name == "auc":
            return auc(predicted, self.truth.astype(int))
        return spearman(predicted, np.broadcast_to(self.truth, predicted.shape))

    def resample(
        self, predicted: Float[np.ndarray, "rows n"], draws: int, seed: int
    ) -> Float[np.ndarray, "rows draws"]:
        """Return the metric of each row in bootstrap samples of problems, the same for every layer and ratio."""
        groups = np.unique(np.array(self.problem_ids, dtype=str), return_inverse=True)[1]
        rng, predicted = generator("bootstrap problems", seed), round_ties(predicted)
        if self.name == "auc":
            return bootstrap_auc(predicted, self.truth.astype(int), groups, draws, rng)
        return bootstrap_spearman(predicted, self.truth, groups, draws, rng)

    def undefined(self, predicted: Float[np.ndarray, "rows n"]) -> str | None:
        """Say why the metric is undefined for these predictions."""
        if self.untrained:
            return self.untrained
        if self.name == "auc":
            return auc_undefined(round_ties(predicted), self.truth.astype(int))
        return spearman_undefined(round_ties(predicted), self.truth)

    def scored(self, row: PruningRow, predicted: Float[np.ndarray, " n"], score: float) -> PruningRow:
        """Return a row with its number, or with the reason why it has none."""
        if np.isfinite(score):
            return {**row, self.name: float(score), "reason": None}
        return {**row, "reason": self.undefined(predicted[None]) or "undefined"}


def pruning_rows(name: str, about: About, part: Part, pruning: Pruning) -> list[PruningRow]:
    """Return all rows of one part of the scores: those of every entry of every column, and the mean over seeds."""
    metric = Metric(name, part.truth, part.problem_ids, about.untrained)
    rows = []
    for column, predicted in part.columns.items():
        rows += entry_rows(metric, about, about.entries[column], predicted)
    rows += mean_rows(metric, about, part.columns["true"], pruning)
    return [{**part.key, **row} for row in rows]


def entry_rows(
    metric: Metric, about: About, entries: Sequence[Entry], predicted: Float[np.ndarray, "ratios entries n"]
) -> list[PruningRow]:
    """Return a row for each prune ratio and entry of one column."""
    rows = []
    for point, each, scores in zip(points(about), predicted, metric.score(predicted), strict=True):
        for entry, of_entry, score in zip(entries, each, scores, strict=True):
            rows.append(metric.scored({**entry, **point}, of_entry, score))
    return rows


def mean_rows(
    metric: Metric, about: About, predicted: Float[np.ndarray, "ratios seeds n"], pruning: Pruning
) -> list[PruningRow]:
    """Return a row for each prune ratio: the mean over the seeds on true labels, and its interval."""
    n_ratios, n_seeds, n = predicted.shape
    means = metric.score(predicted).mean(1)
    drawn = np.full((n_ratios, pruning.bootstrap), np.nan)
    if np.isfinite(means).any():
        each = metric.resample(predicted.reshape(-1, n), pruning.bootstrap, pruning.seed)
        drawn = each.reshape(n_ratios, n_seeds, -1).mean(1)
    rows = []
    for point, mean, resampled, of_seeds in zip(points(about), means, drawn, predicted, strict=True):
        # All seeds are scored on the same data: if only the mean is undefined, the predictions of one seed are the
        # cause.
        why = next((reason for one in of_seeds if (reason := metric.undefined(one[None]))), "undefined")
        interval = estimate(float(mean), resampled, pruning.confidence, why)
        numbers = {metric.name: interval.value, "ci_low": interval.low, "ci_high": interval.high}
        rows.append({**MEAN, **point, **numbers, "reason": interval.reason})
    return rows


def points(about: About) -> list[PruningRow]:
    """Return the prune ratios, each with the number of inputs that are kept."""
    return [{"prune_ratio": ratio, "n_kept": kept} for ratio, kept in zip(about.ratios, about.n_kept, strict=True)]


def table(rows: list[PruningRow], metric: str, extra: Sequence[str] = ()) -> pl.DataFrame:
    """Tabulate the rows, types fixed also where a column is all null; `extra` are further text columns."""
    integers, texts = ("layer", "seed", "draw", "n_kept"), ("labels", "kept", "reason", *extra)
    numbers = ("prune_ratio", metric, "ci_low", "ci_high")
    order = ["layer", *extra, "labels", "seed", "kept", "draw", "prune_ratio", "n_kept", metric, "ci_low", "ci_high"]
    kinds = dict.fromkeys(integers, pl.Int64) | dict.fromkeys(texts, pl.String) | dict.fromkeys(numbers, pl.Float64)
    return pl.DataFrame(rows, schema={name: kinds[name] for name in [*order, "reason"]})
