"""The interval of an estimand: a number that is an average over cells, with two sources of variance.

The first is the sample of problems: its variance is that of the joint bootstrap. The second is the sample of members
(probe seeds, draws, random sets): s^2/m over the members' own estimands. The interval is Student's t at Satterthwaite's
degrees of freedom. Each kind of estimand adds what its numbers alone cannot show: how the variance depends on the
estimand near its bounds, and how far a difference that no problem shows may still be from zero.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.stats import t

from workflow_scripts.lib.statistics.intervals import Array

FEWEST_RARER, FEWEST_PROBLEMS, FEWEST_MEMBERS = 10, 20, 3
"""Numbers below which no verdict is given: problems of the rarer outcome, problems with a paragraph, members."""
NOTHING = 1e-12
"""Variance that is rounding, not spread."""


@dataclass(frozen=True)
class Size:
    """How many problems one data set contributes, and how many of them have the rarer outcome (None without one)."""

    n: int
    n_rarer: int | None = None


@dataclass(frozen=True)
class Spread:
    """Variance of an estimand in its two parts, with the degrees of freedom of each."""

    problems: float
    problem_freedom: float
    members: float = 0.0
    member_freedom: float = np.inf

    @property
    def se(self) -> float:
        """Standard error."""
        return float(np.sqrt(self.problems + self.members))

    @property
    def freedom(self) -> float:
        """Degrees of freedom after Satterthwaite (1946)."""
        both = self.problems**2 / self.problem_freedom + self.members**2 / self.member_freedom
        return float((self.problems + self.members) ** 2 / both) if both > 0 else np.inf

    def at(self, factor: float) -> "Spread":
        """Return the spread at `factor` times as many problems and the same members."""
        return replace(self, problems=self.problems / factor, problem_freedom=self.problem_freedom * factor)

    def half_width(self, confidence: float) -> float:
        """Return the half width of a t interval."""
        return float(t.ppf(0.5 + confidence / 2, self.freedom)) * self.se


Gap = Callable[[float, float], float]
"""How far a value lies from a hypothesis, in units in which the standard error at the value holds."""


@dataclass(frozen=True)
class Interval:
    """An estimand with its confidence interval. `reason` says why no verdict may rest on it; then limits may be None.

    `n` counts problems (seeds, where the estimand is about sets), `n_rarer` those of the rarer outcome, `m` members.
    """

    value: float | None
    low: float | None
    high: float | None
    spread: Spread
    n: int
    n_rarer: int | None = None
    m: int | None = None
    reason: str | None = None
    gate_n: int = 0
    """Problems at which the gate would let a verdict pass, at the shares seen."""
    gap: Gap = lambda value, theta: value - theta
    bounds: tuple[float, float] = (-1.0, 1.0)
    confidence: float = 0.95

    @property
    def se(self) -> float:
        """Standard error."""
        return self.spread.se

    @property
    def freedom(self) -> float:
        """Degrees of freedom of the t interval."""
        return self.spread.freedom

    def at(self, confidence: float) -> "Interval":
        """Return the interval at another confidence (for several opponents: 1 - 0.05 / k)."""
        if self.value is None or self.low is None:
            return replace(self, confidence=confidence)
        half = self.spread.half_width(confidence)
        low, high = (self._limit(self.value, sign * half) for sign in (1, -1))
        return replace(self, low=low, high=high, confidence=confidence)

    def _limit(self, value: float, gap: float) -> float:
        """Solve for the hypothesis that lies `gap` below the value (above it if negative), within the bounds."""
        bound = self.bounds[0] if gap > 0 else self.bounds[1]
        if abs(bound - value) < NOTHING or abs(self.gap(value, bound)) <= abs(gap):
            return bound
        return float(brentq(lambda theta: self.gap(value, theta) - gap, bound, value, xtol=1e-9))


@dataclass(frozen=True)
class Kind:
    """What is particular to a kind of estimand."""

    count: Callable[[Size], int]
    """The number of problems on which the degrees of freedom and the gate rest."""
    fewest: int
    blank: Callable[[float, int, int], float]
    """Variance at a value with (n, n_rarer) problems where the resamples show none."""
    least: Callable[[int, int], float] = lambda n, n_rarer: 2 / n**2
    """Variance below which that of resamples is not believed: a problem or two may always be otherwise."""
    gap: Callable[[int, int], Gap] = lambda n, n_rarer: lambda value, theta: value - theta
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


def inside(value: float, n: int, n_rarer: int) -> float:
    """Return an AUC, or half a pair away from 0 or 1 if it is there, where no variance could be scaled."""
    edge = 0.5 / (n_rarer * (n - n_rarer))
    return min(max(value, edge), 1 - edge)


def _auc_gap(n: int, n_rarer: int) -> Gap:
    """Make the gap of an AUC, whose variance at the hypothesis decides, as in Wilson's interval of a share.

    The interval behaves as one on the logit scale and exists at 0 and 1, too.
    """

    def spread(auc: float) -> float:
        return float(np.sqrt(auc_variance(auc, n_rarer, n - n_rarer)))

    return lambda value, theta: (value - theta) * spread(inside(value, n, n_rarer)) / max(spread(theta), NOTHING)


def _correlation_gap(n: int, n_rarer: int) -> Gap:
    """Make the gap of a correlation, on Fisher's scale."""
    edge = 1 - 1 / n

    def gap(value: float, theta: float) -> float:
        value, theta = (min(max(one, -edge), edge) for one in (value, theta))
        return float((np.arctanh(value) - np.arctanh(theta)) * (1 - value**2))

    return gap


def rarer(size: Size) -> int:
    """Return the number of problems of the rarer outcome."""
    assert size.n_rarer is not None, "an AUC or accuracy needs the number of problems of its rarer outcome"
    return size.n_rarer


def _model_of_auc(value: float, n: int, n_rarer: int) -> float:
    """Compute the model's variance of an AUC at its value."""
    return auc_variance(inside(value, n, n_rarer), n_rarer, n - n_rarer)


def _moved_problems(n: int, n_rarer: int) -> float:
    """Compute the variance that two problems give, one of each outcome, if they move past half of the others."""
    return (n_rarer**-2 + (n - n_rarer) ** -2) / 2


def _problems(size: Size) -> int:
    """Return the number of problems."""
    return size.n


AUC = Kind(rarer, FEWEST_RARER, _model_of_auc, lambda n, few: 0.0, _auc_gap, (0.0, 1.0), pseudo=0.5)
"""Level of an AUC, or a mean of levels."""
AUC_DIFFERENCE = Kind(rarer, FEWEST_RARER, lambda value, n, few: _moved_problems(n, few), _moved_problems)
"""Difference of AUCs, or a mean of differences."""
SPEARMAN = Kind(
    _problems, FEWEST_PROBLEMS, lambda value, n, few: (1 - value**2) ** 2 / n + 2 / n**2, gap=_correlation_gap
)
"""Level of a rank correlation over paragraphs, or a mean of levels."""
SPEARMAN_DIFFERENCE = Kind(_problems, FEWEST_PROBLEMS, lambda value, n, few: 2 / n**2)
"""Difference of rank correlations, or a mean of differences."""
ACCURACY_DIFFERENCE = Kind(rarer, FEWEST_RARER, lambda value, n, few: 2 / (n + 2) ** 2, lambda n, few: 2 / (n + 2) ** 2)
"""Paired difference of accuracies (`paired_cell`), or a mean of differences."""


def interval(
    kind: Kind,
    sizes: Sequence[Size],
    sampled: Sequence[Float[Array, "members 1+draws"]] = (),
    fixed: Float[Array, " 1+draws"] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Compute the interval of the sum of all given parts, averaged over members.

    Args:
        kind: one of the kinds of this module.
        sizes: the problems of each data set, the smallest numbers over its cells.
        sampled: parts whose members are a sample; give parts apart that were sampled apart (value probes, and less
            the random sets), each with at least 3 members, and as one array what is paired by member.
        fixed: the part that has no members: the unpruned accuracy, a deterministic selection, PCA.
        confidence: coverage.
    """
    parts = [np.atleast_2d(part) for part in sampled]
    total = sum((part.mean(0) for part in parts), np.zeros(1)) + (0 if fixed is None else np.reshape(fixed, -1))
    n, counted = sum(size.n for size in sizes), [kind.count(size) for size in sizes]
    n_rarer = None if any(size.n_rarer is None for size in sizes) else sum(size.n_rarer or 0 for size in sizes)
    m = min((len(part) for part in parts), default=None)
    reason = why_not(kind, counted, m, float(total[0]))
    gate = ceil(n * kind.fewest / max(min(counted), 0.5))
    found = Interval(None, None, None, Spread(0, np.inf), n, n_rarer, m, reason, gate, confidence=confidence)
    if not np.isfinite(total[0]):
        return found
    if min(counted) < 2 or (m is not None and m < FEWEST_MEMBERS):
        return replace(found, value=float(total[0]))
    few = n_rarer if n_rarer is not None else n // 2
    spread = Spread(
        problem_variance(kind, total, n, few, min(counted)),
        problem_freedom(counted, len(total) - 1),
        *member_variance(parts),
    )
    value, gap = float(total[0]), kind.gap(n, few)
    return replace(found, value=value, low=value, spread=spread, gap=gap, bounds=kind.bounds).at(confidence)


def why_not(kind: Kind, counted: Sequence[int], m: int | None, value: float) -> str | None:
    """Say in one sentence why no verdict may rest on an estimand; return None where one may."""
    what = "of the rarer outcome" if kind.count is rarer else "with a paragraph that was kept"
    if not counted or min(counted) < kind.fewest:
        return f"Only {min(counted, default=0)} problems {what}; a verdict needs {kind.fewest}."
    if not np.isfinite(value):
        return "It is undefined: one class only, nothing that varies, or a missing score."
    if m is not None and m < FEWEST_MEMBERS:
        return f"Only {m} of what was drawn at random (probe seeds, draws, sets); their spread needs {FEWEST_MEMBERS}."
    return None


def problem_variance(kind: Kind, total: Float[Array, " 1+draws"], n: int, few: int, smallest: int) -> float:
    """Compute the variance over problems: that of the resamples, made unbiased, and what the kind adds to it.

    The level of an AUC mixes it with the model's variance as if that had come from half a problem, because resamples
    show little where few problems are misranked; other kinds have a lower bound.
    """
    value = float(total[0])
    drawn, blank = float(total[1:].var(ddof=1)) * smallest / (smallest - 1), kind.blank(value, n, few)
    if drawn < NOTHING:
        return blank
    if not kind.pseudo:
        return max(drawn, kind.least(n, few))
    seen = few * 4 * value * (1 - value)
    return (seen * drawn + kind.pseudo * blank) / (seen + kind.pseudo)


def problem_freedom(counted: Sequence[int], draws: int) -> float:
    """Pool degrees of freedom of data sets whose variances are as 1 / count, and those of a finite number of draws."""
    shares = 1 / np.array(counted, float)
    pooled = float(shares.sum() ** 2 / (shares**2 / (np.array(counted) - 1)).sum())
    return 1 / (1 / pooled + 1 / (draws - 1))


def member_variance(parts: Sequence[Float[Array, "members 1+draws"]]) -> tuple[float, float]:
    """Sum s^2/m over parts that were sampled apart; return it with its degrees of freedom."""
    variances = np.array([part[:, 0].var(ddof=1) / len(part) for part in parts])
    if variances.sum() < NOTHING:
        return 0.0, np.inf
    freedoms = np.array([len(part) - 1 for part in parts])
    return float(variances.sum()), float(variances.sum() ** 2 / (variances**2 / freedoms).sum())
