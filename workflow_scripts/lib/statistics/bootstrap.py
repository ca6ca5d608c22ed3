"""Bootstrap over problems, the unit of resampling, because responses and paragraphs of one problem are not independent.

Array functions return NaN where a statistic is undefined.
"""

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.intervals import Array, Estimate, Resampling, estimate, wilson
from workflow_scripts.lib.statistics.ranks import correlation_of_sums


def weighted_auc(
    scores: Float[Array, " n"], correct: Bool[Array, " n"], weights: Float[Array, "n draws"], strata: Int[Array, " n"]
) -> Float[Array, " draws"]:
    """Compute the area under the ROC curve from pairs of a correct and an incorrect response of the same stratum.

    A tie counts one half. The result is the mean of the strata's AUCs weighted by their numbers of pairs; with a single
    stratum it is the AUC itself. NaN where no stratum has both classes.
    """
    won, pairs = np.zeros(weights.shape[1]), np.zeros(weights.shape[1])
    for stratum in np.unique(strata):
        upper, lower = (np.flatnonzero((strata == stratum) & mask) for mask in (correct, ~correct))
        first, second = scores[upper][:, None], scores[lower][None, :]
        # Single precision is exact here: an entry of the product is a multiple of 1/2 and at most a few thousand.
        compared = (first > second).astype(np.float32) + 0.5 * (first == second).astype(np.float32)
        a, b = weights[upper].T.astype(np.float32), weights[lower].astype(np.float32)
        won += np.einsum("dw,wd->d", a @ compared, b, dtype=float)
        pairs += a.sum(1, dtype=float) * b.sum(0, dtype=float)
    return np.divide(won, pairs, out=np.full_like(won, np.nan), where=pairs > 0)


def accuracy(rollouts: pl.DataFrame, how: Resampling) -> tuple[float, float | None, float | None] | None:
    """Compute the share of correct responses with its interval; return None if there are no responses.

    One response per problem: Wilson. Several: bootstrap over problems, because responses of one problem are not
    independent. If all responses have the same grade, the bootstrap sees no spread; then Wilson takes each problem as
    one trial.
    """
    if rollouts.is_empty():
        return None
    share = float(rollouts["reward"].cast(pl.Float64).mean())  # type: ignore[arg-type]
    n = rollouts["problem_id"].n_unique()
    if n == len(rollouts) or share in (0, 1):
        low, high = wilson(round(share * n), n, how.confidence)
        return share, float(low), float(high)
    groups = rollouts["problem_id"].rank("dense").to_numpy()
    rng = generator(how.seed, "accuracy")
    resampled = bootstrap_mean(rollouts["reward"].to_numpy(), groups, how.resamples, rng, how.confidence)
    return share, resampled.low, resampled.high


def problem_weights(groups: Int[Array, " n"], draws: int, rng: np.random.Generator) -> Float[Array, "n draws"]:
    """Draw how often each row occurs in each bootstrap sample of whole problems; `groups` names each row's problem."""
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
    """Compute the AUC of every row of scores in `draws` bootstrap samples of problems, the same samples for every row.

    A sample gives weights a to the correct and b to the incorrect responses; its AUC is a' M b / (sum a sum b), where M
    contains the pairwise comparisons (1, 1/2, 0) of a row, so that one matrix product serves all samples. NaN where a
    sample has one class only, and in a row with a NaN.
    """
    scores, correct = np.atleast_2d(np.asarray(scores, float)), np.asarray(labels).astype(bool)
    weights = problem_weights(groups, draws, rng)
    # Single precision is exact here: an entry of the product is a multiple of 1/2 and at most a few thousand.
    a, b = weights[correct].T.astype(np.float32), weights[~correct].astype(np.float32)
    pairs = a.sum(1, dtype=float) * b.sum(0, dtype=float)
    drawn = np.full((len(scores), draws), np.nan)
    for row in np.flatnonzero(~np.isnan(scores).any(1)):
        upper, lower = scores[row, correct][:, None], scores[row, ~correct][None, :]
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
    """Compute the Spearman correlation of every row with the target in `draws` bootstrap samples of problems.

    The samples are the same for every row, and ranks are computed within each sample. Where values occur w times, ranks
    are sums of w, so that one sort serves all samples. NaN where a sample is constant on either side, and in a row with
    a NaN.
    """
    predicted, target = np.atleast_2d(np.asarray(predicted, float)), np.asarray(target, float)
    weights = problem_weights(groups, draws, rng)
    drawn = np.full((len(predicted), draws), np.nan)
    if np.isnan(target).any():
        return drawn
    ranks = centred_ranks(target, weights)
    weighted = weights * ranks
    variation = np.einsum("nd,nd->d", weighted, ranks)
    for row in np.flatnonzero(~np.isnan(predicted).any(1)):
        ranks = centred_ranks(predicted[row], weights)
        row_variation = np.einsum("nd,nd,nd->d", weights, ranks, ranks)
        drawn[row] = correlation_of_sums(np.einsum("nd,nd->d", ranks, weighted), row_variation, variation)
    return drawn


def centred_ranks(values: Float[Array, " n"], weights: Float[Array, "n draws"]) -> Float[Array, "n draws"]:
    """Compute centred mean ranks of `values` in the samples where value i occurs `weights[i]` times."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    below = np.zeros((len(values) + 1, weights.shape[1]))
    np.cumsum(weights[order], axis=0, out=below[1:])
    first, after = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    return (below[first] + below[after] - below[-1]) / 2


def bootstrap_mean(
    values: Float[Array, " n"], groups: Int[Array, " n"], draws: int, rng: np.random.Generator, confidence: float = 0.95
) -> Estimate:
    """Compute the mean of `values` (an accuracy, a token count) with its interval by bootstrap over problems."""
    values = np.asarray(values, float)
    if not len(values) or np.isnan(values).any():
        return Estimate(None, None, None, "no values" if not len(values) else "a value is missing")
    weights = problem_weights(groups, draws, rng)
    return estimate(float(values.mean()), values @ weights / weights.sum(0), confidence)
