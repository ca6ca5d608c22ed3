"""Rows of the pruning tables: a metric of pruned probes, kept by importance, at random, or retrained; with intervals.

One row per probe, prune ratio and draw. Rows with seed -1 are the mean over the seeds on true labels, with the
bootstrap interval (over problems) of that mean. What is undefined is null, and `reason` says why.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from torch import Tensor

from workflow_scripts.lib.config.sections import Pruning
from workflow_scripts.lib.probes.perceptrons import Probes, Spec, ranking
from workflow_scripts.lib.probes.pruning import curve, kept_count, random_rankings
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import bootstrap_auc, bootstrap_spearman
from workflow_scripts.lib.statistics.intervals import estimate
from workflow_scripts.lib.statistics.ranks import auc, auc_undefined, round_ties, spearman, spearman_undefined

PruningRow = dict[str, Any]
MEAN_SEED = -1
NO_DRAW = -1


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

    def row(self, spec: Spec, kept: str, draw: int, ratio: float, n_kept: int) -> PruningRow:
        """Return a row without its number."""
        identity = {"layer": spec.layer, "labels": spec.labels, "seed": spec.seed, "kept": kept, "draw": draw}
        return {**identity, "prune_ratio": ratio, "n_kept": n_kept, self.name: None, "ci_low": None, "ci_high": None}

    def scored(self, row: PruningRow, predicted: Float[np.ndarray, " n"], score: float) -> PruningRow:
        """Return a row with its number, or with the reason why it has none."""
        if np.isfinite(score):
            return {**row, self.name: float(score), "reason": None}
        return {**row, "reason": self.undefined(predicted[None]) or "undefined"}


def kept_rows(metric: Metric, probes: Probes, states: Float[Tensor, "n d"], pruning: Pruning) -> list[PruningRow]:
    """Return rows of one layer's probes at one position: by importance, the mean over seeds, and at random."""
    rows = rows_of(metric, probes, states, ranking(probes), "importance", NO_DRAW, pruning)
    true = probes.of(labels="true")
    rows += mean_rows(metric, true, curve(true, states, ranking(true), pruning.ratios), pruning)
    for draw in range(pruning.random_draws):
        order = random_rankings(true.specs, states.shape[1], draw, pruning.seed)
        rows += rows_of(metric, true, states, order, "random", draw, pruning)
    return rows


def mean_rows(
    metric: Metric, probes: Probes, predicted: Float[np.ndarray, "ratios seeds n"], pruning: Pruning
) -> list[PruningRow]:
    """Return a row for each prune ratio: the mean over one layer's probes, and its interval."""
    n_ratios, n_seeds, n = predicted.shape
    spec = Spec(probes.specs[0].layer, MEAN_SEED, "true")
    means = metric.score(predicted).mean(1)
    drawn = np.full((n_ratios, pruning.bootstrap), np.nan)
    if np.isfinite(means).any():
        each = metric.resample(predicted.reshape(-1, n), pruning.bootstrap, pruning.seed)
        drawn = each.reshape(n_ratios, n_seeds, -1).mean(1)
    rows = []
    for ratio, mean, resampled, of_seeds in zip(pruning.ratios, means, drawn, predicted, strict=True):
        # All seeds are scored on the same data: if only the mean is undefined, the predictions of one seed are the
        # cause.
        why = next((reason for one in of_seeds if (reason := metric.undefined(one[None]))), "undefined")
        interval = estimate(float(mean), resampled, pruning.confidence, why)
        row = metric.row(spec, "importance", NO_DRAW, ratio, kept_count(ratio, probes.w1.shape[2]))
        rows.append(
            {**row, metric.name: interval.value, "ci_low": interval.low, "ci_high": interval.high}
            | {"reason": interval.reason}
        )
    return rows


def rows_of(
    metric: Metric,
    probes: Probes,
    states: Float[Tensor, "n d"],
    rankings: Int[Tensor, "probes d"],
    kept: str,
    draw: int,
    pruning: Pruning,
) -> list[PruningRow]:
    """Return a row for each prune ratio and probe."""
    predicted = curve(probes, states, rankings, pruning.ratios)
    scores = metric.score(predicted)
    rows = []
    for i, ratio in enumerate(pruning.ratios):
        for j, spec in enumerate(probes.specs):
            row = metric.row(spec, kept, draw, ratio, kept_count(ratio, states.shape[1]))
            rows.append(metric.scored(row, predicted[i, j], scores[i, j]))
    return rows


def table(rows: list[PruningRow], metric: str, extra: Sequence[str] = ()) -> pl.DataFrame:
    """Tabulate the rows, types fixed also where a column is all null; `extra` are further text columns."""
    integers, texts = ("layer", "seed", "draw", "n_kept"), ("labels", "kept", "reason", *extra)
    numbers = ("prune_ratio", metric, "ci_low", "ci_high")
    order = ["layer", *extra, "labels", "seed", "kept", "draw", "prune_ratio", "n_kept", metric, "ci_low", "ci_high"]
    kinds = dict.fromkeys(integers, pl.Int64) | dict.fromkeys(texts, pl.String) | dict.fromkeys(numbers, pl.Float64)
    return pl.DataFrame(rows, schema={name: kinds[name] for name in [*order, "reason"]})


POSITIONS = ("initial", "final")


def untrained(metadata: dict[str, Any]) -> str | None:
    """Say why probes could not learn anything; None if they could."""
    if not metadata["n_training"]:
        return "no training responses"
    if metadata["n_right"] in (0, metadata["n_training"]):
        return f"all training responses are {'correct' if metadata['n_right'] else 'incorrect'}"
    return None
