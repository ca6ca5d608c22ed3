"""Effects of interventions: paired changes, their tests, contrasts between selections, and the overlap of two sets.

Masked and unmasked responses answer the same problems with the same random streams. So every comparison is paired, and
the unit is the problem. What is undefined is None, with a reason.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest, hypergeom, norm, t

from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import bootstrap_mean, problem_weights
from workflow_scripts.lib.statistics.intervals import Array, Estimate, Resampling, estimate

FLIPS = 10_000
"""Sign patterns that a permutation test draws; if there are fewer, it uses all of them."""
BLOCK = 1000
ONE_DRAW = "one draw of random neurons: how much draws differ is unknown"


@dataclass(frozen=True)
class Tested:
    """A difference with its interval and p-value."""

    found: Estimate
    p_value: float | None


def sums_by_problem(values: Array, groups: Int[Array, " n"]) -> Array:
    """Sum `values` (`[n]` or `[n, k]`) over the responses of each problem."""
    names, index = np.unique(groups, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def mcnemar(before: Bool[Array, " n"], after: Bool[Array, " n"]) -> float:
    """Compute the exact two-sided McNemar test that problems were gained as often as lost; 1 if none changed."""
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    return float(binomtest(lost, lost + gained, 0.5).pvalue) if lost + gained else 1.0


def sign_flips(differences: Float[Array, " problems"], rng: np.random.Generator) -> float:
    """Compute a two-sided permutation test of a mean of paired differences, with signs arbitrary under the null.

    Exact if there are at most `FLIPS` sign patterns; otherwise from `FLIPS` random ones and the observed one.
    """
    changed = differences[differences != 0]
    observed = abs(changed.sum()) - 1e-9
    if 2 ** len(changed) <= FLIPS:
        patterns = product((-1, 1), repeat=len(changed))
        return float(np.mean([abs(np.dot(signs, changed)) >= observed for signs in patterns]))
    beyond = 0
    for _ in range(FLIPS // BLOCK):
        signs = 2.0 * rng.integers(0, 2, size=(BLOCK, len(changed)), dtype=np.int8) - 1
        beyond += int((np.abs(signs @ changed) >= observed).sum())
    return (beyond + 1) / (FLIPS + 1)


def change(
    masked: Float[Array, " n"], unmasked: Float[Array, " n"], groups: Int[Array, " n"], how: Resampling
) -> Tested:
    """Compute accuracy with an intervention minus accuracy without, by paired bootstrap over problems, and test it.

    Rows are responses, `groups` their problems. The test is McNemar's with one response per problem, and sign flips
    over problems with several.
    """
    differences = masked - unmasked
    rng = generator(how.seed, "change")
    difference = bootstrap_mean(differences, groups, how.resamples, rng, how.confidence)
    if len(np.unique(groups)) == len(groups):
        return Tested(difference, mcnemar(unmasked > 0, masked > 0))
    return Tested(difference, sign_flips(sums_by_problem(differences, groups), generator(how.seed, "flips")))


def contrast(
    value: Float[Array, " n"],
    others: Float[Array, "n draws"],
    groups: Int[Array, " n"],
    how: Resampling,
) -> Tested:
    """Compute accuracy with intervened value neurons minus that with intervened others, the mean over their draws.

    The interval resamples problems and draws (`interval_over_draws`). The test flips signs of problems and takes the
    draws as given.
    """
    gaps = sums_by_problem(value[:, None] - others, groups)
    sizes = sums_by_problem(np.ones(len(value)), groups)
    difference = float(gaps.mean(1).sum() / sizes.sum())
    rng = generator(how.seed, "contrast")
    weights = problem_weights(np.arange(len(sizes)), how.resamples, rng)
    resampled = gaps.T @ weights / (sizes @ weights)
    interval = interval_over_draws(difference, gaps.sum(0) / sizes.sum(), resampled, rng, how)
    if interval.low is not None and interval.high is not None:
        interval = Estimate(difference, max(interval.low, -1.0), min(interval.high, 1.0))
    return Tested(interval, sign_flips(gaps.mean(1), generator(how.seed, "flips")))


def interval_over_draws(
    difference: float,
    by_draw: Float[Array, " k"],
    resampled: Float[Array, "k resamples"],
    rng: np.random.Generator,
    how: Resampling,
) -> Estimate:
    """Return a mean difference against k draws with an interval over problems and draws.

    Resampling a few draws underestimates their spread. Therefore deviations from their mean are stretched by
    sqrt(k / (k - 1)), and the interval by Student's t over the normal quantile, at the degrees of freedom that
    Satterthwaite gives k draws.

    Args:
        difference: the mean difference over draws.
        by_draw: the difference against each draw.
        resampled: the same in each bootstrap sample of problems.
        rng: resamples the draws.
        how: number of resamples and confidence.
    """
    k, spread, stretch = len(by_draw), resampled.mean(0), 1.0
    if k > 1:
        picked = rng.multinomial(k, np.full(k, 1 / k), size=how.resamples).T / k
        spread = spread + np.sqrt(k / (k - 1)) * ((picked - 1 / k) * resampled).sum(0)
        variance = float(np.nanvar(spread)) if np.isfinite(spread).any() else 0.0
        stretch = few_draws(by_draw, variance, how.confidence)
    interval = estimate(difference, spread, how.confidence)
    if interval.low is None or interval.high is None:
        return interval
    low, high = (difference + stretch * (limit - difference) for limit in (interval.low, interval.high))
    return Estimate(difference, low, high)


def few_draws(by_draw: Float[Array, " draws"], variance: float, confidence: float) -> float:
    """Return the factor by which Student's t widens an interval if part of its `variance` comes from a few draws."""
    k = len(by_draw)
    between = float(by_draw.var(ddof=1)) / k
    if between <= 0 or variance <= 0:
        return 1.0
    freedom = max((k - 1) * (variance / between) ** 2, k - 1)
    return float(t.ppf(0.5 + confidence / 2, freedom) / norm.ppf(0.5 + confidence / 2))


@dataclass(frozen=True)
class Overlap:
    """How many neurons two sets share, and how many two uniformly drawn sets of the same sizes would share."""

    n_neurons: int
    shared: int
    overlap: float
    chance: float
    chance_high: float
    p_value: float


def overlap(first: set[int], second: set[int], width: int, confidence: float) -> Overlap:
    """Compute the share of the first set that is in the second too, and that of uniform draws from `width` neurons."""
    size, shared = len(first), len(first & second)
    chance = hypergeom(width, size, len(second))
    high = float(chance.ppf(0.5 + confidence / 2)) / size
    return Overlap(size, shared, shared / size, len(second) / width, high, float(chance.sf(shared - 1)))
