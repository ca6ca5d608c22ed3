"""One joint bootstrap: all cells of a data set are computed on the same resamples of its problems.

A cell (a layer at a prune ratio, read by some probe seeds) is an array `[members, 1 + draws]`: a row for each member
(probe seed, draw, random set), the point estimate in column 0, one resample of problems in each further column. What a
claim is about is then plain arithmetic on such arrays: means over cells, differences between readers, the level at a
prune ratio less the level of all inputs. Data sets have streams of their own, so that they are resampled apart.

A statistic of a resample is always a number: a resample without a pair to rank, or with one side constant, has what a
constant score has (AUC 0.5, correlation 0). To leave such resamples out would condition on the outcome. The point
estimate is NaN where the data themselves leave it undefined (`joint_intervals` then says so).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from workflow_scripts.lib.seeds import Part, generator
from workflow_scripts.lib.statistics.bootstrap import centred_ranks
from workflow_scripts.lib.statistics.intervals import Array
from workflow_scripts.lib.statistics.ranks import round_ties

CHANCE = 0.5
"""AUC of a score that ranks nothing."""
BLOCK = 250
"""Resamples that are ranked at a time, which bounds the memory of a cell with thousands of paragraphs."""


@dataclass(frozen=True)
class Resamples:
    """How often each problem of one data set occurs in its resamples."""

    weights: Float[Array, "problems 1+draws"]
    """Column 0 holds ones: the data themselves."""
    pseudo: Float[Array, "2 1+draws"]
    """The same for the two pseudo-problems of paired accuracies; zero in column 0."""

    def rows(self, problems: Int[Array, " rows"]) -> Float[Array, "rows 1+draws"]:
        """Return the weights of rows (responses, paragraphs) whose problems have these numbers."""
        return self.weights[problems]


def resample(n_problems: int, draws: int, *stream: Part) -> Resamples:
    """Draw `draws` resamples of the problems of one data set, and of two pseudo-problems with them.

    Args:
        n_problems: number of problems; rows are numbered from 0.
        draws: number of resamples.
        stream: name of the random stream, for instance `(seed, "joint", dataset)`; the same for every cell.
    """
    size = n_problems + 2
    counts = generator(*stream).multinomial(size, np.full(size, 1 / size), size=draws).T.astype(float)
    own = np.concatenate([np.ones((n_problems, 1)), counts[:n_problems]], axis=1)
    return Resamples(own, np.concatenate([np.zeros((2, 1)), counts[n_problems:]], axis=1))


def auc_cell(
    scores: Float[Array, "members rows"], rewards: Shaped[Array, " rows"], weights: Float[Array, "rows 1+draws"]
) -> Float[Array, "members 1+draws"]:
    """Compute the AUC of each member's scores against 0/1 rewards in every resample; a tie counts one half.

    One sort of the incorrect rows and one cumulative sum of their weights serve all resamples, so that the cost is
    O(rows x draws). Single-precision scores are rounded first, because noise must not break ties.
    """
    scores, correct = without_noise(scores), np.asarray(rewards) > 0.5
    upper, lower = weights[correct], weights[~correct]
    pairs = upper.sum(0) * lower.sum(0)
    cell = np.full((len(scores), weights.shape[1]), CHANCE)
    below = np.zeros((len(lower) + 1, weights.shape[1]))
    for found, row in zip(cell, scores, strict=True):
        order = np.argsort(row[~correct], kind="stable")
        incorrect = row[~correct][order]
        np.cumsum(lower[order], axis=0, out=below[1:])
        first, after = (np.searchsorted(incorrect, row[correct], side) for side in ("left", "right"))
        beaten = below[first] if (first == after).all() else (below[first] + below[after]) / 2
        np.divide(np.einsum("nd,nd->d", upper, beaten), pairs, out=found, where=pairs > 0)
    cell[np.isnan(scores).any(1), 0] = np.nan
    if not pairs[0]:
        cell[:, 0] = np.nan
    return cell


def spearman_cell(
    predicted: Float[Array, "members rows"], target: Float[Array, " rows"], weights: Float[Array, "rows 1+draws"]
) -> Float[Array, "members 1+draws"]:
    """Compute Spearman's correlation of each member's predictions with the target in every resample.

    Rows are paragraphs and have the weights of their problems (`Resamples.rows`). Ranks are those within the resample;
    a constant side gives 0.
    """
    predicted, target = without_noise(predicted), np.asarray(target, float)
    cell = np.zeros((len(predicted), weights.shape[1]))
    for start in range(0, weights.shape[1], BLOCK):
        block = weights[:, start : start + BLOCK]
        own = centred_ranks(target, block)
        weighted = block * own
        variation = np.einsum("nd,nd->d", weighted, own)
        for found, row in zip(cell[:, start : start + BLOCK], predicted, strict=True):
            ranks = centred_ranks(row, block)
            scale = np.sqrt(variation * np.einsum("nd,nd,nd->d", block, ranks, ranks))
            np.divide(np.einsum("nd,nd->d", weighted, ranks), scale, out=found, where=scale > 0)
    undefined = np.isnan(predicted).any(1) | (not len(target) or bool(np.isnan(target).any()) or np.ptp(target) == 0)
    cell[undefined, 0] = np.nan
    return cell


def mean_cell(
    values: Float[Array, "members problems"], weights: Float[Array, "problems 1+draws"]
) -> Float[Array, "members 1+draws"]:
    """Compute the mean over problems of each member's quantity; average responses first (`within_problems`).

    A resample of pseudo-problems alone, which a few problems may give, has the mean of the data.
    """
    values, total = np.atleast_2d(np.asarray(values, float)), weights.sum(0)
    means = np.repeat(values.mean(1, keepdims=True), len(total), axis=1)
    return np.divide(values @ weights, total, out=means, where=total > 0)


def paired_cell(differences: Float[Array, "members problems"], resamples: Resamples) -> Float[Array, "members 1+draws"]:
    """Compute mean paired differences of accuracies, two pseudo-problems of +1 and -1 among the resampled ones.

    Because of them a cell in which no answer changed varies over resamples, as it must: no change among n problems
    leaves room for some among all. They are the same in every cell of a data set (after Bonett and Price 2012), and
    stay out of the point estimate.

    Args:
        differences: accuracy in one condition less that in the other, one number a problem (`within_problems`).
        resamples: those of the data set.
    """
    values = np.atleast_2d(np.asarray(differences, float))
    plus, minus = resamples.pseudo
    return (values @ resamples.weights + plus - minus) / (resamples.weights.sum(0) + plus + minus)


def within_problems(
    values: Float[Array, "members rows"], problems: Int[Array, " rows"], n_problems: int
) -> Float[Array, "members problems"]:
    """Average the rows (responses) of each problem; NaN for a problem without rows."""
    values = np.atleast_2d(np.asarray(values, float))
    sums = np.zeros((n_problems, len(values)))
    np.add.at(sums, problems, values.T)
    counts = np.bincount(problems, minlength=n_problems)[:, None]
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0).T


def without_noise(scores: Float[Array, "members rows"]) -> Float[Array, "members rows"]:
    """Return rows of double-precision scores, with ties restored where they came in single precision."""
    rows = np.atleast_2d(np.asarray(scores))
    return round_ties(rows.astype(float)) if rows.dtype == np.float32 else rows.astype(float)
