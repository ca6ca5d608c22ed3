"""Statistics of trajectories over problems: means over neurons, and one condition against several draws of another.

The unit of resampling is the problem; every bootstrap takes the same samples of problems, so that differences are
paired. What is undefined is None, with a reason.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import bootstrap_spearman, problem_weights
from workflow_scripts.lib.statistics.intervals import Estimate, Resampling, estimate
from workflow_scripts.lib.statistics.paired import Tested, interval_over_draws, sign_flips, sums_by_problem
from workflow_scripts.lib.statistics.ranks import round_ties, spearman, spearman_undefined

SWAPS = 2000
"""Random exchanges of two conditions, problem by problem, in a permutation test of rank correlations."""


def numbered(problem_ids: Sequence[str]) -> np.ndarray:
    """Return the number of each row's problem."""
    return np.unique(np.array(problem_ids, dtype=str), return_inverse=True)[1]


def mean_over_responses(values: Float[np.ndarray, " n"], groups: np.ndarray, how: Resampling) -> Estimate:
    """Return the mean over responses with its interval; NaN are left out."""
    defined = ~np.isnan(values)
    if not defined.any():
        return Estimate(None, None, None, "no validation response has one" if len(values) else "no responses")
    weights = problem_weights(groups[defined], how.resamples, generator(how.seed, "trajectories"))
    drawn = values[defined] @ weights / weights.sum(0)
    return estimate(float(values[defined].mean()), drawn, how.confidence)


def mean_spearman(
    means: Float[np.ndarray, "neurons n"], delta: Float[np.ndarray, " n"], groups: np.ndarray, how: Resampling
) -> tuple[Estimate, Float[np.ndarray, " draws"]]:
    """Return the mean over neurons of the Spearman correlation with the TD error, and its bootstrap draws.

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
    """Return the mean over neurons of |Spearman|; NaN where it is undefined for one."""
    return float(np.abs(spearman(means, np.broadcast_to(delta, means.shape))).mean())


def draws_generator(how: Resampling) -> np.random.Generator:
    """Return the random stream that resamples the draws of a condition."""
    return generator(how.seed, "draws of trajectories")


def contrast_means(gaps: Float[np.ndarray, "n k"], groups: np.ndarray, how: Resampling) -> Tested:
    """Compare over k draws: the mean over responses of a difference; responses with a NaN are left out."""
    defined = ~np.isnan(gaps).any(1)
    if not gaps.shape[1] or not defined.any():
        return Tested(Estimate(None, None, None, "no response to compare on"), None)
    sums = sums_by_problem(gaps[defined], groups[defined])
    sizes = sums_by_problem(np.ones(defined.sum()), groups[defined])
    weights = problem_weights(np.arange(len(sizes)), how.resamples, generator(how.seed, "trajectories"))
    drawn = sums.T @ weights / (sizes @ weights)
    by_draw = sums.sum(0) / sizes.sum()
    interval = interval_over_draws(float(by_draw.mean()), by_draw, drawn, draws_generator(how), how)
    return Tested(interval, sign_flips(sums.mean(1), generator(how.seed, "flips of trajectories")))


def contrast_strengths(
    value: Float[np.ndarray, "neurons n"],
    others: Float[np.ndarray, "k neurons n"],
    delta: Float[np.ndarray, " n"],
    groups: np.ndarray,
    how: Resampling,
) -> Tested:
    """Compare mean |Spearman with the TD error| over neurons under one condition with that under k draws of another.

    The test exchanges the conditions of whole problems at random.
    """
    value, others = round_ties(value), round_ties(others)
    strength, each = mean_strength(value, delta), np.array([mean_strength(one, delta) for one in others])
    if not len(each) or not np.isfinite([strength, *each]).all():
        rows = [value, *others]
        reason = next((why for one in rows for row in one if (why := spearman_undefined(row, delta))), "no draws")
        return Tested(Estimate(None, None, None, reason), None)

    def resampled(means: Float[np.ndarray, "neurons n"]) -> Float[np.ndarray, " draws"]:
        rng = generator(how.seed, "trajectories")
        return np.abs(bootstrap_spearman(means, delta, groups, how.resamples, rng)).mean(0)

    drawn = resampled(value) - np.stack([resampled(one) for one in others])
    by_draw = strength - each
    difference = float(by_draw.mean())
    interval = interval_over_draws(difference, by_draw, drawn, draws_generator(how), how)
    return Tested(interval, exchange_test(value, others, delta, groups, abs(difference), how))


def exchange_test(
    value: Float[np.ndarray, "neurons n"],
    others: Float[np.ndarray, "k neurons n"],
    delta: Float[np.ndarray, " n"],
    groups: np.ndarray,
    observed: float,
    how: Resampling,
) -> float:
    """Return how often exchanging conditions by problem gives a difference of mean strengths at least as large."""
    rng = generator(how.seed, "exchanges of trajectories")
    exchanged = rng.integers(0, 2, size=(SWAPS, int(groups.max()) + 1), dtype=np.int8)[:, groups].astype(bool)
    total = np.zeros(SWAPS)
    wide = np.broadcast_to(delta, exchanged.shape)
    for one in others:
        for activation, other in zip(value, one, strict=True):
            first, second = np.where(exchanged, other, activation), np.where(exchanged, activation, other)
            total += np.abs(spearman(first, wide)) - np.abs(spearman(second, wide))
    total /= len(others) * len(value)
    return (int((np.abs(np.nan_to_num(total)) >= observed - 1e-9).sum()) + 1) / (SWAPS + 1)
