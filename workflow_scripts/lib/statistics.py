"""Intervals, rank statistics, the bootstrap over problems, and reliability.

Array functions answer NaN where a statistic is undefined; `estimate`, `noise_ceiling` and `bootstrap_mean` turn that
into None with a reason, so that no undefined number reaches a table. The unit of resampling is always the problem
(`groups`), because the responses and paragraphs of one problem are not independent.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike
from scipy.stats import norm, rankdata

Array = np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A number with its interval. What is undefined is None, and then `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


def wilson(n_right: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
    """Wilson score interval of a share `n_right / n`, elementwise; NaN where n is 0.

    It holds its level for few trials and near 0 and 1, where state values live (Wilson 1927).
    """
    n, n_right = np.asarray(n, float), np.asarray(n_right, float)
    z = norm.ppf(0.5 + confidence / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = n_right / n
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        return np.minimum(np.maximum(centre - half, 0), share), np.maximum(np.minimum(centre + half, 1), share)


def newcombe(
    first: tuple[ArrayLike, ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike, ArrayLike]
) -> tuple[Array, Array]:
    """Hybrid-score interval of `first - second`, each given as (value, low, high) of two independent quantities.

    With Wilson intervals this is Newcombe's method 10 (1998); it also takes scaled shares (gamma V) and exact values
    (value = low = high).
    """
    (value_1, low_1, high_1), (value_2, low_2, high_2) = (map(np.asarray, part) for part in (first, second))
    difference = value_1 - value_2
    return (
        difference - np.hypot(value_1 - low_1, high_2 - value_2),
        difference + np.hypot(high_1 - value_1, value_2 - low_2),
    )


def auc(scores: Float[Array, "*rows n"], labels: Int[Array, " n"]) -> Float[Array, "*rows"]:
    """Area under the ROC curve of each row of scores against 0/1 labels; a tie counts one half.

    NaN where only one class is present or a score is NaN.
    """
    scores, right = np.asarray(scores, float), np.asarray(labels).astype(bool)
    n_right, n_wrong = int(right.sum()), int((~right).sum())
    if not n_right or not n_wrong:
        return np.full(scores.shape[:-1], np.nan)
    ranks = rankdata(scores, axis=-1)
    return (ranks[..., right].sum(-1) - n_right * (n_right + 1) / 2) / (n_right * n_wrong)


def spearman(x: Float[Array, "*rows n"], y: Float[Array, "*rows n"]) -> Float[Array, "*rows"]:
    """Spearman's correlation along the last axis, ties at mean ranks; NaN where a side is constant or has a NaN."""
    return pearson(rankdata(np.asarray(x, float), axis=-1), rankdata(np.asarray(y, float), axis=-1))


def pearson(x: Float[Array, "*rows n"], y: Float[Array, "*rows n"]) -> Float[Array, "*rows"]:
    """Pearson's correlation along the last axis; NaN where a side is constant, has a NaN, or holds one value only."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    if not x.shape[-1]:
        return np.full(np.broadcast_shapes(x.shape, y.shape)[:-1], np.nan)
    varied = (np.ptp(x, axis=-1) > 0) & (np.ptp(y, axis=-1) > 0)  # exactly constant, whatever rounding does to the mean
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    return _correlation((x * y).sum(-1), np.where(varied, (x * x).sum(-1), 0), (y * y).sum(-1))


def settled(predicted: Float[Array, "*rows n"]) -> Float[Array, "*rows n"]:
    """Predictions without their floating-point noise, which must not decide how equal inputs are ranked.

    Each row is rounded to a grid of some 2^-14 of its largest value. A row that spans no more than 16 steps of the grid
    is constant: where all values lie in a few cells, noise that moves one across a boundary would rank it.
    """
    _, exponent = np.frexp(np.abs(predicted).max(-1, keepdims=True, initial=0))
    grid = np.ldexp(1.0, exponent - 14)
    if not predicted.shape[-1]:
        return predicted
    low, high = predicted.min(-1, keepdims=True), predicted.max(-1, keepdims=True)
    return np.where(high - low <= 16 * grid, low, np.round(predicted / grid) * grid)


def problem_weights(groups: Int[Array, " n"], draws: int, rng: np.random.Generator) -> Float[Array, "n draws"]:
    """How often each row occurs in each bootstrap sample of whole problems; `groups` names the problem of each row."""
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    if not len(names):
        return np.zeros((0, draws))
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return counts.T[index].astype(float)


def bootstrap_auc(
    scores: Float[Array, "rows n"],
    labels: Int[Array, " n"],
    groups: Int[Array, " n"],
    draws: int,
    rng: np.random.Generator,
) -> Float[Array, "rows draws"]:
    """AUC of every row of scores in `draws` bootstrap samples of problems; the same samples for every row.

    A sample gives weights a to the right and b to the wrong responses; its AUC is a' M b / (sum a sum b), where M holds
    the pairwise comparisons (1, 1/2, 0) of a row, so one matrix product serves all samples. NaN where a sample has one
    class only, and in a row with a NaN.
    """
    scores, right = np.atleast_2d(np.asarray(scores, float)), np.asarray(labels).astype(bool)
    weights = problem_weights(groups, draws, rng)
    # Single precision is exact here: an entry of the product is a multiple of 1/2 and at most a few thousand.
    a, b = weights[right].T.astype(np.float32), weights[~right].astype(np.float32)
    pairs = a.sum(1, dtype=float) * b.sum(0, dtype=float)
    drawn = np.full((len(scores), draws), np.nan)
    for row in np.flatnonzero(~np.isnan(scores).any(1)):
        upper, lower = scores[row, right][:, None], scores[row, ~right][None, :]
        compared = (upper > lower).astype(np.float32) + 0.5 * (upper == lower).astype(np.float32)
        won = np.einsum("dw,wd->d", a @ compared, b, dtype=float)
        np.divide(won, pairs, out=drawn[row], where=pairs > 0)
    return drawn


def bootstrap_spearman(
    predicted: Float[Array, "rows n"],
    target: Float[Array, " n"],
    groups: Int[Array, " n"],
    draws: int,
    rng: np.random.Generator,
) -> Float[Array, "rows draws"]:
    """Spearman correlation of every row with the target in `draws` bootstrap samples of problems.

    The samples are the same for every row, and each is ranked anew: where values occur w times, ranks are sums of w, so
    one sort serves all samples. NaN where a sample is constant on either side, and in a row with a NaN.
    """
    predicted, target = np.atleast_2d(np.asarray(predicted, float)), np.asarray(target, float)
    weights = problem_weights(groups, draws, rng)
    drawn = np.full((len(predicted), draws), np.nan)
    if np.isnan(target).any():
        return drawn
    ranks = _centred_ranks(target, weights)
    weighted = weights * ranks
    variation = np.einsum("nd,nd->d", weighted, ranks)
    for row in np.flatnonzero(~np.isnan(predicted).any(1)):
        ranks = _centred_ranks(predicted[row], weights)
        own_variation = np.einsum("nd,nd,nd->d", weights, ranks, ranks)
        drawn[row] = _correlation(np.einsum("nd,nd->d", ranks, weighted), own_variation, variation)
    return drawn


def _centred_ranks(values: Float[Array, " n"], weights: Float[Array, "n draws"]) -> Float[Array, "n draws"]:
    """Mean ranks, less their mean, of `values` in the samples where value i occurs `weights[i]` times."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    below = np.zeros((len(values) + 1, weights.shape[1]))
    np.cumsum(weights[order], axis=0, out=below[1:])
    first, after = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (below[first] + below[after] - below[-1]) / 2


def _correlation(covariation: Array, variation_x: Array, variation_y: Array) -> Array:
    """Correlation from sums of products; NaN where a side does not vary."""
    scale = np.sqrt(variation_x) * np.sqrt(variation_y)
    return np.clip(np.divide(covariation, scale, out=np.full_like(scale, np.nan), where=scale > 0), -1, 1)


def bootstrap_mean(
    values: Float[Array, " n"], groups: Int[Array, " n"], draws: int, rng: np.random.Generator, confidence: float = 0.95
) -> Estimate:
    """Mean of `values` (an accuracy, a token count) with its interval by bootstrap over problems."""
    values = np.asarray(values, float)
    if not len(values) or np.isnan(values).any():
        return Estimate(None, None, None, "no values" if not len(values) else "a value is missing")
    weights = problem_weights(groups, draws, rng)
    return estimate(float(values.mean()), values @ weights / weights.sum(0), confidence)


def estimate(
    value: float, drawn: Float[Array, " draws"], confidence: float = 0.95, reason: str = "undefined"
) -> Estimate:
    """A number with the percentile interval of its bootstrap draws, widened to contain the number where it does not.

    NaN (for which the caller knows the reason: see `auc_undefined`, `spearman_undefined`) gives None throughout. Draws
    that are NaN are left out; when more than half of them are, or when nothing varies, there is no interval and
    `reason` says so.
    """
    if not np.isfinite(value):
        return Estimate(None, None, None, reason)
    finite = drawn[np.isfinite(drawn)]
    if 2 * len(finite) < len(drawn) or not len(finite):
        return Estimate(float(value), None, None, "too few problems to resample: most samples leave it undefined")
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    if finite.min() == finite.max():
        return Estimate(float(value), None, None, "every resample gives the same number: no interval")
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))


def auc_undefined(scores: Float[Array, "*rows n"], labels: Int[Array, " n"]) -> str | None:
    """Why there is no AUC to speak of, or None when there is one."""
    scores, labels = np.atleast_2d(np.asarray(scores, float)), np.asarray(labels)
    if not len(labels):
        return "no responses"
    if len(np.unique(labels)) < 2:
        return "all responses are right" if labels[0] else "all responses are wrong"
    if np.isnan(scores).any():
        return "a score is not a number"
    return "all scores are equal" if (np.ptp(scores, axis=-1) == 0).all() else None


def spearman_undefined(predicted: Float[Array, "*rows n"], target: Float[Array, " n"]) -> str | None:
    """Why there is no rank correlation to speak of, or None when there is one."""
    predicted, target = np.atleast_2d(np.asarray(predicted, float)), np.asarray(target, float)
    if len(target) < 3:
        return f"{len(target)} paragraphs: too few for a correlation"
    if np.isnan(predicted).any() or np.isnan(target).any():
        return "a value is not a number"
    if np.ptp(target) == 0:
        return "all TD errors are equal"
    return "all predictions are equal" if (np.ptp(predicted, axis=-1) == 0).all() else None


def spearman_brown(half_correlation: float, lengthening: float = 2.0) -> float:
    """Reliability of a measurement `lengthening` times as long as two that correlate so (Spearman and Brown, 1910)."""
    return lengthening * half_correlation / (1 + (lengthening - 1) * half_correlation)


@dataclass(frozen=True)
class NoiseCeiling:
    """How well a perfect predictor could do against a noisy measurement; None with a reason where it cannot be said."""

    half_correlation: float | None
    reliability: float | None
    ceiling: float | None
    reason: str | None = None


def noise_ceiling(
    delta_a: Float[Array, " n"],
    delta_b: Float[Array, " n"],
    rank: bool = True,
    delta: Float[Array, " n"] | None = None,
) -> NoiseCeiling:
    """The largest correlation that a predictor of the true TD error can have with the measured one (method, section 5).

    The two halves of the continuations give two measurements with independent errors, so their correlation is the
    reliability (the share of the variance that is not noise) of a measurement from N/2 continuations; Spearman-Brown
    lengthens it to N. A perfect predictor then correlates by the square root of that with what is measured, because
    corr(true, measured) = sd(true) / sd(measured) = sqrt(reliability). `rank` takes Spearman's correlation of the
    halves, for a ceiling beside Spearman's correlations; the formulas are exact for Pearson's, approximate for it.

    `delta` is what is measured, where that rests on more than the two halves; how much longer it is than one of them
    then follows from how far they lie apart (`lengthening`).

    Pairs with a NaN are left out. Give it all paragraphs: picking those with a large measured |delta| picks those where
    the errors of both halves point the same way, and even pure noise then looks reliable. `lib.kept_ceiling` is for
    those.
    """
    delta_a, delta_b = np.asarray(delta_a, float), np.asarray(delta_b, float)
    present = ~(np.isnan(delta_a) | np.isnan(delta_b))
    if present.sum() < 3:
        return NoiseCeiling(None, None, None, f"{present.sum()} paragraphs with two halves: too few for a correlation")
    half = float((spearman if rank else pearson)(delta_a[present], delta_b[present]))
    if np.isnan(half):
        return NoiseCeiling(None, None, None, "one half gives the same TD error everywhere")
    if half <= 0:
        return NoiseCeiling(half, None, None, "the halves do not agree: the TD errors cannot be told from noise")
    longer = (
        2.0 if delta is None else lengthening(delta_a[present], delta_b[present], np.asarray(delta, float)[present])
    )
    if np.isnan(longer):
        return NoiseCeiling(half, None, None, "the halves lie no further apart than what is measured from all")
    reliability = spearman_brown(half, longer)
    return NoiseCeiling(half, reliability, float(np.sqrt(reliability)))


def lengthening(half_a: Float[Array, " n"], half_b: Float[Array, " n"], whole: Float[Array, " n"]) -> float:
    """Mean squared error of the halves, in units of that of `whole`; 2 where `whole` is their mean, NaN if undefined.

    Both halves are unbiased with independent errors, so the first is half their mean squared difference. `whole` is
    what either half is expected to be, given all that was sampled (Rao and Blackwell), so its own error is what is left
    of that without the halves' mean squared distance from it.
    """
    of_halves = float(np.mean((half_a - half_b) ** 2)) / 2
    of_whole = of_halves - float(np.mean((half_a - whole) ** 2 + (half_b - whole) ** 2)) / 2
    return of_halves / of_whole if of_whole > 0 else float("nan")
