"""Rank statistics: AUC, Spearman's and Pearson's correlation, and the reason if one is undefined.

Array functions return NaN where a statistic is undefined.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import rankdata

from workflow_scripts.lib.statistics.intervals import Array


def auc(scores: Float[Array, "*rows n"], labels: Int[Array, " n"]) -> Float[Array, "*rows"]:
    """Compute the area under the ROC curve of each row of scores against 0/1 labels; a tie counts one half.

    NaN where only one class is present or a score is NaN.
    """
    scores, correct = np.asarray(scores, float), np.asarray(labels).astype(bool)
    n_correct, n_incorrect = int(correct.sum()), int((~correct).sum())
    if not n_correct or not n_incorrect:
        return np.full(scores.shape[:-1], np.nan)
    ranks = rankdata(scores, axis=-1)
    return (ranks[..., correct].sum(-1) - n_correct * (n_correct + 1) / 2) / (n_correct * n_incorrect)


def spearman(x: Float[Array, "*rows n"], y: Float[Array, "*rows n"]) -> Float[Array, "*rows"]:
    """Compute Spearman's correlation along the last axis, ties at mean ranks; NaN if a side is constant or has NaN."""
    return pearson(rankdata(np.asarray(x, float), axis=-1), rankdata(np.asarray(y, float), axis=-1))


def pearson(x: Float[Array, "*rows n"], y: Float[Array, "*rows n"]) -> Float[Array, "*rows"]:
    """Compute Pearson's correlation along the last axis; NaN if a side is constant, has NaN, or has one value only."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if not x.shape[-1]:
        return np.full(np.broadcast_shapes(x.shape, y.shape)[:-1], np.nan)
    varied = (np.ptp(x, axis=-1) > 0) & (np.ptp(y, axis=-1) > 0)  # exactly constant, whatever rounding does to the mean
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    return correlation_of_sums((x * y).sum(-1), np.where(varied, (x * x).sum(-1), 0), (y * y).sum(-1))


def round_ties(predicted: Float[Array, "*rows n"]) -> Float[Array, "*rows n"]:
    """Round predictions so that floating-point noise cannot break ties.

    Each row is rounded to a grid of some 2^-14 of its largest value. A row that spans no more than 16 steps of the grid
    is constant: where all values lie in a few cells, noise that moves one across a boundary would rank it.
    """
    _, exponent = np.frexp(np.abs(predicted).max(-1, keepdims=True, initial=0))
    grid = np.ldexp(1.0, exponent - 14)
    if not predicted.shape[-1]:
        return predicted
    low, high = predicted.min(-1, keepdims=True), predicted.max(-1, keepdims=True)
    return np.where(high - low <= 16 * grid, low, np.round(predicted / grid) * grid)


def correlation_of_sums(covariation: Array, variation_x: Array, variation_y: Array) -> Array:
    """Compute a correlation from sums of products; NaN where a side does not vary."""
    scale = np.sqrt(variation_x) * np.sqrt(variation_y)
    return np.clip(np.divide(covariation, scale, out=np.full_like(scale, np.nan), where=scale > 0), -1, 1)


def auc_undefined(scores: Float[Array, "*rows n"], labels: Int[Array, " n"]) -> str | None:
    """Return why the AUC is undefined or meaningless, or None if it is neither."""
    scores, labels = np.atleast_2d(np.asarray(scores, float)), np.asarray(labels)
    if not len(labels):
        return "no responses"
    if len(np.unique(labels)) < 2:
        return "all responses are correct" if labels[0] else "all responses are incorrect"
    if np.isnan(scores).any():
        return "a score is not a number"
    return "all scores are equal" if (np.ptp(scores, axis=-1) == 0).all() else None


def spearman_undefined(predicted: Float[Array, "*rows n"], target: Float[Array, " n"]) -> str | None:
    """Return why the rank correlation is undefined or meaningless, or None if it is neither."""
    predicted, target = np.atleast_2d(np.asarray(predicted, float)), np.asarray(target, float)
    if len(target) < 3:
        return f"{len(target)} paragraphs: too few for a correlation"
    if np.isnan(predicted).any() or np.isnan(target).any():
        return "a value is not a number"
    if np.ptp(target) == 0:
        return "all TD errors are equal"
    return "all predictions are equal" if (np.ptp(predicted, axis=-1) == 0).all() else None


def one_class(rewards: Float[Array, " n"], part: str) -> str | None:
    """Return why nothing can be learned or measured on these responses, or None if something can."""
    if not len(rewards):
        return f"no {part} responses"
    if rewards.min() == rewards.max():
        return f"all {part} responses are {'correct' if rewards[0] else 'incorrect'}"
    return None
