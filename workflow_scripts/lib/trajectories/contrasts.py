"""Statistics of trajectories: means over neurons, and a condition against several draws of another, all over problems.

The unit of resampling is the problem; every bootstrap takes the same samples of problems, so that differences are
paired. What is undefined is None, with a reason.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import bootstrap_spearman, problem_weights
from workflow_scripts.lib.statistics.intervals import Estimate, Resampling, estimate
from workflow_scripts.lib.statistics.paired import Tested, few_draws, sign_flips, sums_by_problem
from workflow_scripts.lib.statistics.ranks import round_ties, spearman, spearman_undefined

SWAPS = 2000
"""Random exchanges of two conditions, problem by problem, in a permutation test of rank correlations."""


def numbered(problem_ids: Sequence[str]) -> np.ndarray:
    """The number of each row's problem."""
    return np.unique(np.array(problem_ids, dtype=str), return_inverse=True)[1]


def mean_over_responses(values: Float[np.ndarray, " n"], groups: np.ndarray, how: Resampling) -> Estimate:
    """Mean over responses with its interval; NaN are left out."""
    there = ~np.isnan(values)
    if not there.any():
        return Estimate(None, None, None, "no validation response has one" if len(values) else "no responses")
    weights = problem_weights(groups[there], how.resamples, generator(how.seed, "trajectories"))
    drawn = values[there] @ weights / weights.sum(0)
    return estimate(float(values[there].mean()), drawn, how.confidence)


def mean_spearman(
    means: Float[np.ndarray, "neurons n"], delta: Float[np.ndarray, " n"], groups: np.ndarray, how: Resampling
) -> tuple[Estimate, Float[np.ndarray, " draws"]]:
    """Mean over neurons of the Spearman correlation with the TD error, and its bootstrap draws.

    Neurons for which it is undefined are left out; for one neuron this is its own correlation.
    """
    empty = np.full(how.resamples, np.nan)
    known = [row for row in round_ties(means) if spearman_undefined(row, delta) is None]
    if not known:
        reason = spearman_undefined(round_ties(means), delta) or "undefined"
        return Estimate(None, None, None, reason), empty
    chosen = np.stack(known)
    value = float(spearman(chosen, np.broadcast_to(delta, chosen.shape)).mean())
    rng = generator(how.seed, "trajectories")
    drawn = bootstrap_spearman(chosen, delta, groups, how.resamples, rng).mean(0)
    return estimate(value, drawn, how.confidence), drawn


def mean_strength(means: Float[np.ndarray, "neurons n"], delta: Float[np.ndarray, " n"]) -> float:
    """Mean over neurons of |Spearman|; NaN where it is undefined for one."""
    return float(np.abs(spearman(means, np.broadcast_to(delta, means.shape))).mean())


def against_draws(by_draw: Float[np.ndarray, " k"], drawn: Float[np.ndarray, "k draws"], how: Resampling) -> Estimate:
    """The mean over k draws of a difference, with an interval over problems and draws.

    Args:
        by_draw: the difference against each draw.
        drawn: the same in each bootstrap sample of problems.

    As in `statistics.paired.contrast`: a few draws, resampled, show too little of their spread, so that deviations from
    their mean are stretched, and the interval by Student's t.
    """
    difference, k = float(by_draw.mean()), len(by_draw)
    spread = drawn.mean(0)
    stretch = 1.0
    if k > 1:
        rng = generator(how.seed, "draws of trajectories")
        picked = rng.multinomial(k, np.full(k, 1 / k), size=how.resamples).T / k
        spread = spread + np.sqrt(k / (k - 1)) * ((picked - 1 / k) * drawn).sum(0)
        stretch = few_draws(by_draw, float(np.nanvar(spread)) if np.isfinite(spread).any() else 0.0, how.confidence)
    found = estimate(difference, spread, how.confidence)
    if found.low is None or found.high is None:
        return found
    low, high = (difference + stretch * (limit - difference) for limit in (found.low, found.high))
    return Estimate(difference, low, high)


def contrast_means(gaps: Float[np.ndarray, "n k"], groups: np.ndarray, how: Resampling) -> Tested:
    """Mean over responses of a difference against k draws; responses with a NaN are left out."""
    there = ~np.isnan(gaps).any(1)
    if not gaps.shape[1] or not there.any():
        return Tested(Estimate(None, None, None, "no response to compare on"), None)
    sums, sizes = sums_by_problem(gaps[there], groups[there]), sums_by_problem(np.ones(there.sum()), groups[there])
    weights = problem_weights(np.arange(len(sizes)), how.resamples, generator(how.seed, "trajectories"))
    drawn = sums.T @ weights / (sizes @ weights)
    found = against_draws(sums.sum(0) / sizes.sum(), drawn, how)
    return Tested(found, sign_flips(sums.mean(1), generator(how.seed, "flips of trajectories")))


def contrast_strengths(
    value: Float[np.ndarray, "neurons n"],
    others: Float[np.ndarray, "k neurons n"],
    delta: Float[np.ndarray, " n"],
    groups: np.ndarray,
    how: Resampling,
) -> Tested:
    """Mean over neurons of |Spearman with the TD error| under one condition less that under k draws of another.

    The test exchanges the conditions of whole problems at random.
    """
    value, others = round_ties(value), round_ties(others)
    own, each = mean_strength(value, delta), np.array([mean_strength(one, delta) for one in others])
    if not len(each) or not np.isfinite([own, *each]).all():
        rows = [value, *others]
        reason = next((why for one in rows for row in one if (why := spearman_undefined(row, delta))), "no draws")
        return Tested(Estimate(None, None, None, reason), None)

    def resampled(means: Float[np.ndarray, "neurons n"]) -> Float[np.ndarray, " draws"]:
        rng = generator(how.seed, "trajectories")
        return np.abs(bootstrap_spearman(means, delta, groups, how.resamples, rng)).mean(0)

    drawn = resampled(value) - np.stack([resampled(one) for one in others])
    found = against_draws(own - each, drawn, how)
    return Tested(found, exchange_test(value, others, delta, groups, abs(float((own - each).mean())), how))


def exchange_test(
    value: Float[np.ndarray, "neurons n"],
    others: Float[np.ndarray, "k neurons n"],
    delta: Float[np.ndarray, " n"],
    groups: np.ndarray,
    observed: float,
    how: Resampling,
) -> float:
    """How often a difference of mean strengths at least as large arises when conditions are exchanged by problem."""
    rng = generator(how.seed, "exchanges of trajectories")
    exchanged = rng.integers(0, 2, size=(SWAPS, int(groups.max()) + 1), dtype=np.int8)[:, groups].astype(bool)
    total = np.zeros(SWAPS)
    wide = np.broadcast_to(delta, exchanged.shape)
    for one in others:
        for mine, theirs in zip(value, one, strict=True):
            first, second = np.where(exchanged, theirs, mine), np.where(exchanged, mine, theirs)
            total += np.abs(spearman(first, wide)) - np.abs(spearman(second, wide))
    total /= len(others) * len(value)
    return (int((np.abs(np.nan_to_num(total)) >= observed - 1e-9).sum()) + 1) / (SWAPS + 1)
