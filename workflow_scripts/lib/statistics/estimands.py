"""Kinds of estimands: how the variance of each depends on its value, and what no resample of its numbers can show.

An AUC near 1 has little variance, and where no problem is misranked the resamples have none; a difference that no
problem shows may still not be zero. Each kind says what is assumed then, and which problems its gate counts.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FEWEST_RARER, FEWEST_PROBLEMS = 10, 20
"""Numbers below which no verdict is given: problems of the rarer outcome, problems with a paragraph that was kept."""
NOTHING = 1e-12
"""Variance that is rounding, not spread."""
LEAST_SHARE = 0.25
"""Share of the variance at the value that a skewed estimand has at least, at any hypothesis."""


@dataclass(frozen=True)
class Size:
    """How many problems one data set contributes, and how many of them have the rarer outcome (None without one)."""

    n: int
    n_rarer: int | None = None


Gap = Callable[[float, float], float]
"""How far a value lies from a hypothesis, in units in which the standard error at the value holds."""


def problems(size: Size) -> int:
    """Return the number of problems."""
    return size.n


def rarer(size: Size) -> int:
    """Return the number of problems of the rarer outcome."""
    assert size.n_rarer is not None, "an AUC or accuracy needs the number of problems of its rarer outcome"
    return size.n_rarer


def plain(value: float, theta: float) -> float:
    """Return the difference: a standard error that is the same at every hypothesis."""
    return value - theta


def skewed(slope: float) -> Gap:
    """Make the gap of a mean whose variance changes with it, relatively by `slope` a unit: third cumulant / variance^2.

    If few problems make a difference, all of one sign, its variance is as its size, like that of a count. An interval
    that takes the variance at the value is then too short on the side of more such problems.
    """
    return lambda value, theta: (value - theta) / max(1 + slope * (theta - value), LEAST_SHARE) ** 0.5


@dataclass(frozen=True)
class Kind:
    """What is particular to a kind of estimand. `n` is the number of problems, `few` that of the rarer outcome."""

    gate: Callable[[Size], int]
    """The problems that must be enough for a verdict."""
    fewest: int
    """How many of them are enough."""
    count: Callable[[Size], int]
    """The problems on which the degrees of freedom rest: of the rarer outcome where they make most of the variance."""
    blank: Callable[[float, int, int], float]
    """Variance at a value with (n, few) problems where no resample differs from the data."""
    least: Callable[[int, int], float]
    """Variance below which that of resamples is not believed: a problem or two may always be otherwise."""
    gap: Callable[[int, int], Gap] | None = None
    """How the standard error depends on the hypothesis; None if by the skewness of the resamples (`skewed`)."""
    bounds: tuple[float, float] = (-1.0, 1.0)
    pseudo: float = 0.0
    """Problems' worth of weight that `blank` has beside the resamples."""


def auc_variance(auc: float, n_correct: int, n_incorrect: int) -> float:
    """Compute the variance of an AUC where both scores are exponential (Hanley and McNeil 1982; Newcombe 2006).

    At 0.5 it is the null variance (n + 1) / (12 n_correct n_incorrect). It is also what a plan may assume.
    """
    pairs = n_correct * n_incorrect
    shared = ((n_correct + n_incorrect) / 2 - 1) * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return auc * (1 - auc) * (1 + shared) / pairs


def inside(value: float, n: int, few: int) -> float:
    """Return an AUC, or half a pair away from 0 or 1 if it is there, where no variance could be scaled."""
    edge = 0.5 / (few * (n - few))
    return min(max(value, edge), 1 - edge)


def _auc_gap(n: int, few: int) -> Gap:
    """Make the gap of an AUC, whose variance at the hypothesis decides, as in Wilson's interval of a share.

    The interval behaves as one on the logit scale and exists at 0 and 1, too.
    """

    def spread(auc: float) -> float:
        return float(np.sqrt(auc_variance(auc, few, n - few)))

    return lambda value, theta: (value - theta) * spread(inside(value, n, few)) / max(spread(theta), NOTHING)


def _share_model(value: float, n: int, few: int) -> float:
    """Compute the variance of a share of n problems; at 0 and 1, that of half a problem."""
    edge = 0.5 / n
    value = min(max(value, edge), 1 - edge)
    return value * (1 - value) / n


def _least_share(n: int, few: int) -> float:
    """Compute the least variance of a share."""
    return _share_model(0.0, n, few)


def _share_gap(n: int, few: int) -> Gap:
    """Make the gap of a share, whose variance at the hypothesis decides (Wilson 1927)."""

    def gap(value: float, theta: float) -> float:
        return (value - theta) * float(np.sqrt(_share_model(value, n, few) * n / max(theta * (1 - theta), NOTHING)))

    return gap


def _correlation_gap(n: int, few: int) -> Gap:
    """Make the gap of a correlation, on Fisher's scale."""
    edge = 1 - 1 / n

    def gap(value: float, theta: float) -> float:
        value, theta = (min(max(one, -edge), edge) for one in (value, theta))
        return float((np.arctanh(value) - np.arctanh(theta)) * (1 - value**2))

    return gap


def _auc_model(value: float, n: int, few: int) -> float:
    """Compute the model's variance of an AUC at its value."""
    return auc_variance(inside(value, n, few), few, n - few)


def _moved_problems(n: int, few: int) -> float:
    """Compute the variance that two problems give, one of each outcome, that move past half of the others."""
    return (few**-2 + (n - few) ** -2) / 2


def _two_problems(n: int, few: int) -> float:
    """Compute the variance that two pseudo-problems give, +1 and -1, among n problems without a difference."""
    return 2 / (n + 2) ** 2


def _correlation_model(value: float, n: int, few: int) -> float:
    """Compute the variance of a correlation of n independent pairs, and that of two pairs more."""
    return (1 - value**2) ** 2 / n + _two_problems(n, few)


def _whatever_value(least: Callable[[int, int], float]) -> Callable[[float, int, int], float]:
    """Make a variance that is the same at every value."""
    return lambda value, n, few: least(n, few)


AUC = Kind(rarer, FEWEST_RARER, rarer, _auc_model, lambda n, few: 0.0, _auc_gap, (0.0, 1.0), pseudo=0.5)
"""Level of an AUC, or a mean of levels."""
AUC_DIFFERENCE = Kind(
    rarer, FEWEST_RARER, rarer, _whatever_value(_moved_problems), lambda n, few: _moved_problems(n, few) / 4
)
"""Difference of AUCs, or a mean of differences."""
SPEARMAN = Kind(problems, FEWEST_PROBLEMS, problems, _correlation_model, _two_problems, _correlation_gap)
"""Level of a rank correlation over paragraphs, or a mean of levels."""
SPEARMAN_DIFFERENCE = Kind(problems, FEWEST_PROBLEMS, problems, _whatever_value(_two_problems), _two_problems)
"""Difference of rank correlations, or a mean of differences."""
ACCURACY_DIFFERENCE = Kind(rarer, FEWEST_RARER, rarer, _whatever_value(_two_problems), _two_problems)
"""Paired difference of accuracies (`paired_cell`), or a mean of differences.

Only solved problems can be lost, and only unsolved ones gained: the rarer outcome limits what the variance rests on.
"""
MEAN = Kind(problems, FEWEST_PROBLEMS, problems, _whatever_value(_two_problems), _two_problems)
"""Mean over problems of a quantity between 0 and 1, such as a share or a probability, or a difference of such means."""
ACCURACY = Kind(problems, FEWEST_PROBLEMS, problems, _share_model, _least_share, _share_gap, (0.0, 1.0))
"""Accuracy in one condition, or a mean of accuracies on the same problems; in one cell, Wilson's interval."""
