"""Overlap of sets of neurons that independent seeds selected, less what uniformly drawn sets would share.

Sets are no functions of validation problems, so that seeds are the sample: the mean over pairs of seeds has a variance
by the jackknife, which leaves out one seed with all its pairs.
"""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from jaxtyping import Bool, Float
from scipy.stats import hypergeom

from workflow_scripts.lib.statistics.estimands import NOTHING
from workflow_scripts.lib.statistics.intervals import Array
from workflow_scripts.lib.statistics.joint_intervals import FEWEST_MEMBERS, Interval, Spread


def iou(shared: Array, first: Array, second: Array) -> Array:
    """Return the intersection over the union of sets of these sizes; 0 for two empty sets."""
    return shared / np.maximum(first + second - shared, 1)


def share(shared: Array, first: Array, second: Array) -> Array:
    """Return the share of the first set that the second has, too."""
    return shared / np.maximum(first, 1)


Measure = Callable[[Array, Array, Array], Array]
"""What is computed from the numbers of shared neurons, and of both sets: `iou` or `share`."""


def pairs_of_seeds(
    first: Bool[Array, "seeds width"], second: Bool[Array, "seeds width"], measure: Measure = iou
) -> Float[Array, "seeds seeds"]:
    """Compare every set with every set of another seed; NaN on the diagonal, where one seed would meet itself."""
    first, second = (np.asarray(sets, float) for sets in (first, second))
    found = np.asarray(measure(first @ second.T, first.sum(1)[:, None], second.sum(1)[None]), float)
    np.fill_diagonal(found, np.nan)
    return found


def by_seeds(pairs: pl.DataFrame) -> Float[Array, "seeds seeds"]:
    """Return the overlap (`iou`) of listed pairs of probes as a matrix of the seeds that both runs have.

    NaN on the diagonal, where one seed would meet itself: the same first weights.
    """
    seeds = sorted(set(pairs["seed_a"]) & set(pairs["seed_b"]))
    both = pairs.filter(pl.col("seed_a").is_in(seeds), pl.col("seed_b").is_in(seeds)).sort("seed_a", "seed_b")
    found = both["iou"].cast(pl.Float64).to_numpy().reshape(len(seeds), len(seeds)).copy()
    np.fill_diagonal(found, np.nan)
    return found


def expected(width: int, first: int, second: int, measure: Measure = iou) -> float:
    """Compute the expectation of the measure for uniformly drawn sets of these sizes (hypergeometric)."""
    shared = np.arange(min(first, second) + 1)
    chances = hypergeom(width, first, second).pmf(shared)
    return float(chances @ measure(shared, np.array(first), np.array(second)))


def overlap_interval(
    cells: Sequence[Float[Array, "seeds seeds"]],
    chances: Sequence[float],
    neurons: int,
    confidence: float = 0.95,
) -> Interval:
    """Compute the mean overlap over pairs of seeds and over cells, less its expectation, with its jackknife interval.

    Args:
        cells: `pairs_of_seeds` of each layer and pair of runs, with the same seeds.
        chances: `expected` of each; 0 for an overlap that is judged as it is.
        neurons: neurons in the smallest set. If no seed differs from another, the variance is that of a share with two
            pseudo-neurons of either kind among the neurons that all seeds selected.
        confidence: coverage.
    """
    mean, m = np.mean(np.asarray(cells, float), axis=0), len(cells[0])
    value = float(np.nanmean(mean) - np.mean(chances)) if m > 1 else None
    if m < FEWEST_MEMBERS:
        reason = f"Only {m} seeds; how much seeds differ needs {FEWEST_MEMBERS}."
        return Interval(value, None, None, Spread(0, np.inf), m, m=m, reason=reason)
    assert value is not None
    left = np.array([np.nanmean(np.delete(np.delete(mean, j, 0), j, 1)) for j in range(m)])
    variance = float((m - 1) / m * ((left - left.mean()) ** 2).sum())
    if variance < NOTHING:
        variance = 2 / (neurons * m * len(cells) + 2) ** 2
    found = Interval(value, value, value, Spread(variance, m - 1), m, m=m)
    return found.at(confidence)
