"""Measures of ranking and of calibration: weighted AUC within strata, Brier score, calibration error.

Every measure takes weights `[n, draws]`: how often each response occurs in each bootstrap sample of problems
(`statistics.problem_weights`). The same weights serve all methods, so their differences are paired; a column of ones
gives the number itself. Array functions return NaN where a measure is undefined.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

Array = np.ndarray
DECIMALS = 9
"""Decimals of probabilities that count: rounding in a mean over probes shall not separate equal ones."""


def strata_of(lengths: Int[Array, " problems"], n: int) -> Int[Array, " problems"]:
    """Return the stratum of each problem, at most `n`.

    It is the length of the problem where there are few lengths; else quantiles divide the lengths. Equal lengths stay
    together.
    """
    known, stratum = np.unique(lengths, return_inverse=True)
    if len(known) <= n:
        return stratum
    cuts = np.quantile(lengths, np.arange(1, n) / n, method="inverted_cdf")
    return np.unique(np.searchsorted(np.unique(cuts), lengths, side="left"), return_inverse=True)[1]


def brier(
    probabilities: Float[Array, " n"], correct: Bool[Array, " n"], weights: Float[Array, "n draws"]
) -> Float[Array, " draws"]:
    """Return the mean squared difference of probability and outcome."""
    return _share(np.square(probabilities - correct) @ weights, weights)


def bins_of(probabilities: Float[Array, " n"], n: int, fewest: float) -> Int[Array, " n"]:
    """Return the bin of each probability: at most `n` bins with equally many responses, as far as ties allow.

    Equal probabilities stay together. A bin of fewer than `fewest` responses joins the smaller of its neighbours,
    because the share of correct ones among a few says nothing.
    """
    inside = strata_of(np.round(probabilities, DECIMALS), n)
    while len(counts := np.bincount(inside)) > 1 and counts.min() < fewest:
        small = int(counts.argmin())
        beside = [number for number in (small - 1, small + 1) if 0 <= number < len(counts)]
        inside = inside - (inside >= max(small, min(beside, key=lambda number: int(counts[number]))))
    return inside


def calibration_error(
    probabilities: Float[Array, " n"],
    correct: Bool[Array, " n"],
    weights: Float[Array, "n draws"],
    inside: Int[Array, " n"],
) -> Float[Array, " draws"]:
    """Return the expected calibration error: the mean over bins, by their size, of |mean probability - share correct|.

    `inside`: the bin of each response (`bins_of`), which stays in all samples. Noise within bins adds to the error, in
    bootstrap samples twice: their interval reaches further up than down.
    """
    gaps = (probabilities - correct)[:, None] * weights
    total = np.zeros(weights.shape[1])
    for number in np.unique(inside):
        total += np.abs(gaps[inside == number].sum(0))
    return _share(total, weights)


def _share(total: Float[Array, " draws"], weights: Float[Array, "n draws"]) -> Float[Array, " draws"]:
    """Divide `total` by the weights' sums; NaN where there is no weight."""
    sums = weights.sum(0)
    return np.divide(total, sums, out=np.full(weights.shape[1], np.nan), where=sums > 0)


def two_sided(drawn: Float[Array, " draws"]) -> float | None:
    """Return the two-sided p-value of "the difference is 0" from its bootstrap draws; never 0, None without draws.

    Twice the smaller share of draws on one side of 0, including the observed sample.
    """
    finite = drawn[np.isfinite(drawn)]
    if not len(finite):
        return None
    beyond = min(int((finite <= 0).sum()), int((finite >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (1 + len(finite)))
