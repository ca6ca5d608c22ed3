"""Estimates with intervals: Wilson, Newcombe, and percentile intervals of bootstrap draws.

An undefined number is None, with a reason, so that none reaches a table.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.stats import norm

Array = np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A number with its interval. What is undefined is None; then `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None


def wilson(n_correct: ArrayLike, n: ArrayLike, confidence: float = 0.95) -> tuple[Array, Array]:
    """Compute the Wilson score interval of a share `n_correct / n`, elementwise; NaN where n is 0.

    It keeps its level for few trials and near 0 and 1, where many state values lie (Wilson 1927).
    """
    n, n_correct = np.asarray(n, float), np.asarray(n_correct, float)
    z = norm.ppf(0.5 + confidence / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = n_correct / n
        centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
        return np.minimum(np.maximum(centre - half, 0), share), np.maximum(np.minimum(centre + half, 1), share)


def newcombe(
    first: tuple[ArrayLike, ArrayLike, ArrayLike], second: tuple[ArrayLike, ArrayLike, ArrayLike]
) -> tuple[Array, Array]:
    """Compute the hybrid-score interval of `first - second`, two independent quantities given as (value, low, high).

    With Wilson intervals this is Newcombe's method 10 (1998). It also accepts scaled shares (gamma V) and exact values
    (value = low = high).
    """
    (value_1, low_1, high_1), (value_2, low_2, high_2) = (map(np.asarray, part) for part in (first, second))
    difference = value_1 - value_2
    return (
        difference - np.hypot(value_1 - low_1, high_2 - value_2),
        difference + np.hypot(high_1 - value_1, value_2 - low_2),
    )


def estimate(
    value: float, drawn: Float[Array, " draws"], confidence: float = 0.95, reason: str = "undefined"
) -> Estimate:
    """Return a number with the percentile interval of its bootstrap draws, widened to contain the number if necessary.

    NaN gives None throughout; the caller knows the reason (see `auc_undefined`, `spearman_undefined`). Draws that are
    NaN are left out. If more than half of them are NaN, or if nothing varies, there is no interval and `reason` says
    so.
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


@dataclass(frozen=True)
class Resampling:
    """How intervals are computed."""

    confidence: float
    """Coverage of every interval, for instance 0.95."""
    resamples: int
    """Bootstrap resamples of problems."""
    seed: int


def finite(value: float) -> float | None:
    """Return the number, or None for what is undefined."""
    return float(value) if np.isfinite(value) else None
