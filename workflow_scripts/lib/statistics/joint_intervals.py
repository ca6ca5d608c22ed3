"""The interval of an estimand: a number that is an average over cells, with two sources of variance.

The first is the sample of problems: its variance is that of the joint bootstrap. The second is the sample of members
(probe seeds, draws, random sets): s^2/m over the members' own estimands. The interval is Student's t at degrees of
freedom after Satterthwaite.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.stats import t

from workflow_scripts.lib.statistics.estimands import (
    ACCURACY_DIFFERENCE,
    NOTHING,
    Gap,
    Kind,
    Size,
    plain,
    rarer,
    skewed,
)
from workflow_scripts.lib.statistics.intervals import Array

FEWEST_MEMBERS = 3
"""Members below which their spread is taken as unknown."""
CAUTION = 3.0
"""How many times its estimate the members' variance is taken to be for the degrees of freedom, and only there.

Three members often agree by chance, and then seem not to matter: at 1, the interval of 3 members covers 92.5 % where
their variance is 16 times that of problems, with normal numbers; at 3, between 94.7 and 96.2 %, whatever the ratio.
"""


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
        """Degrees of freedom (Satterthwaite 1946) where the variance over members is `CAUTION` times its estimate."""
        members = CAUTION * self.members
        both = self.problems**2 / self.problem_freedom + members**2 / self.member_freedom
        return float((self.problems + members) ** 2 / both) if both > 0 else np.inf

    def at(self, factor: float) -> "Spread":
        """Return the spread at `factor` times as many problems and the same members."""
        return replace(self, problems=self.problems / factor, problem_freedom=self.problem_freedom * factor)

    def half_width(self, confidence: float) -> float:
        """Return the half width of a t interval."""
        return float(t.ppf(0.5 + confidence / 2, self.freedom)) * self.se


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
    gap: Gap = plain
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
        """Return the interval at another confidence (for k opponents: 1 - 0.05 / k)."""
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


def interval(
    kind: Kind,
    sizes: Sequence[Size],
    sampled: Sequence[Float[Array, "members 1+draws"]] = (),
    fixed: Float[Array, " 1+draws"] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Compute the interval of the sum of all given parts, each averaged over its members.

    Args:
        kind: one of the kinds in `estimands`.
        sizes: the problems of each data set, the smallest numbers over its cells.
        sampled: parts whose members are a sample of at least 3. What is paired by member (pruned less unpruned, one
            probe seed a row) is one part; what was sampled apart (20 random sets, negated) is a part of its own.
        fixed: the part that has no members: the unmasked accuracy, a deterministic selection, PCA.
        confidence: coverage.
    """
    parts = [np.atleast_2d(part) for part in sampled]
    total = sum((part.mean(0) for part in parts), np.zeros(1)) + (0 if fixed is None else np.reshape(fixed, -1))
    n, m = sum(size.n for size in sizes), min((len(part) for part in parts), default=None)
    known = [size.n_rarer for size in sizes if size.n_rarer is not None]
    n_rarer = sum(known) if len(known) == len(sizes) else None
    reason = why_not(kind, sizes, m, float(total[0]))
    gate = ceil(n * kind.fewest / max(min(map(kind.gate, sizes), default=0), 0.5))
    found = Interval(None, None, None, Spread(0, np.inf), n, n_rarer, m, reason, gate, confidence=confidence)
    if not np.isfinite(total[0]):
        return found
    if min(map(kind.count, sizes), default=0) < 2 or (m is not None and m < FEWEST_MEMBERS):
        return replace(found, value=float(total[0]))
    few = n_rarer or n // 2
    spread = Spread(
        problem_variance(kind, sizes, total, few), problem_freedom(kind, sizes, len(total) - 1), *member_variance(parts)
    )
    value, gap = float(total[0]), kind.gap(n, few) if kind.gap else skewed(slope(total[1:]) / spread.se**2)
    return replace(found, value=value, low=value, spread=spread, gap=gap, bounds=kind.bounds).at(confidence)


def paired_interval(differences: Float[Array, " problems"], size: Size, confidence: float = 0.95) -> Interval:
    """Compute the interval of paired accuracies in one cell without members: the limit of infinitely many resamples.

    Two pseudo-problems of +1 and -1 enter the variance, not the value (after Bonett and Price 2012).
    """
    differences, few = np.asarray(differences, float), rarer(size)
    n, value = len(differences), float(np.mean(differences))
    reason = why_not(ACCURACY_DIFFERENCE, [size], None, value)
    gate = ceil(n * ACCURACY_DIFFERENCE.fewest / max(few, 0.5))
    found = Interval(value, None, None, Spread(0, np.inf), n, few, reason=reason, gate_n=gate)
    if few < 2:
        return replace(found, confidence=confidence)
    with_pseudo = np.concatenate([differences, [1.0, -1.0]])
    variance, cube = (float(((with_pseudo - with_pseudo.mean()) ** power).mean()) for power in (2, 3))
    spread = Spread(variance / (n + 2) * few / (few - 1), problem_freedom(ACCURACY_DIFFERENCE, [size]))
    gap = skewed(cube / variance / (n + 2) / spread.se**2)
    return replace(found, low=value, spread=spread, gap=gap).at(confidence)


def why_not(kind: Kind, sizes: Sequence[Size], m: int | None, value: float) -> str | None:
    """Say in one sentence why no verdict may rest on an estimand; return None where one may."""
    counted = min(map(kind.gate, sizes), default=0)
    if counted < kind.fewest:
        what = "Problems of the rarer outcome" if kind.gate is rarer else "Problems"
        return f"{what} in the smallest data set: {counted}; a verdict needs {kind.fewest}."
    if not np.isfinite(value):
        return "It is undefined: one class only, nothing that varies, or a missing score."
    if m is not None and m < FEWEST_MEMBERS:
        return f"Only {m} of what was drawn at random (probe seeds, draws, sets); their spread needs {FEWEST_MEMBERS}."
    return None


def problem_variance(kind: Kind, sizes: Sequence[Size], total: Float[Array, " 1+draws"], few: int) -> float:
    """Compute the variance over problems: that of the resamples, made unbiased, and what the kind adds to it.

    The level of an AUC mixes it with the model's variance as if that had come from half a problem, because resamples
    show little where few problems are misranked; other kinds have a lower bound.
    """
    value, n, smallest = float(total[0]), sum(size.n for size in sizes), min(map(kind.count, sizes))
    drawn, blank = float(total[1:].var(ddof=1)) * smallest / (smallest - 1), kind.blank(value, n, few)
    if drawn < NOTHING:
        return blank
    if not kind.pseudo:
        return max(drawn, kind.least(n, few))
    seen = few * 4 * value * (1 - value)
    return (seen * drawn + kind.pseudo * blank) / (seen + kind.pseudo)


def slope(drawn: Float[Array, " draws"]) -> float:
    """Compute by how much the variance over problems grows for each unit of the estimand: third by second cumulant.

    A skewness that as many draws of a normal number may have is taken off.
    """
    variance, noise = float(drawn.var()), np.sqrt(6 / len(drawn))
    if variance < NOTHING:
        return 0.0
    skewness = float(((drawn - drawn.mean()) ** 3).mean()) / variance**1.5
    return float(np.sign(skewness)) * max(abs(skewness) - noise, 0.0) * variance**0.5


def problem_freedom(kind: Kind, sizes: Sequence[Size], draws: float = np.inf) -> float:
    """Pool degrees of freedom of data sets whose variances are as 1 / count, and those of a finite number of draws."""
    counts = np.array([kind.count(size) for size in sizes], float)
    pooled = float((1 / counts).sum() ** 2 / (1 / (counts**2 * (counts - 1))).sum())
    return 1 / (1 / pooled + 1 / (draws - 1))


def member_variance(parts: Sequence[Float[Array, "members 1+draws"]]) -> tuple[float, float]:
    """Sum s^2/m over parts that were sampled apart; return it with its degrees of freedom."""
    variances = np.array([part[:, 0].var(ddof=1) / len(part) for part in parts])
    if variances.sum() < NOTHING:
        return 0.0, np.inf
    freedoms = np.array([len(part) - 1 for part in parts])
    return float(variances.sum()), float(variances.sum() ** 2 / (variances**2 / freedoms).sum())


def planned(
    kind: Kind, sizes: Sequence[Size], variance: float, member_variance: float = 0.0, m: int | None = None
) -> Spread:
    """Return the spread that a plan assumes before anything is measured.

    Args:
        kind: one of the kinds in `estimands`.
        sizes: problems of each data set, of the rarer outcome at the accuracy that is assumed.
        variance: over problems, for an AUC `auc_variance` at the margin, for the paired difference of two that
            correlate by r twice that times 1 - r.
        member_variance: s^2 of single members.
        m: members; None without any.
    """
    problems = max(variance, kind.least(sum(size.n for size in sizes), sum(size.n_rarer or 0 for size in sizes)))
    if m is None:
        return Spread(problems, problem_freedom(kind, sizes))
    return Spread(problems, problem_freedom(kind, sizes), member_variance / m, m - 1)
