"""The noise ceiling of paragraphs that were picked by their own noisy TD error.

Among paragraphs with a large measured |delta| the errors of both halves of the continuations point the same way, for
they helped to pick them. Split halves then promise too much: on pure noise, with 16 continuations and a threshold of
0.3, a ceiling of 0.85. So the picking is simulated instead: the joint distribution of the true values at the two ends
of a paragraph is estimated from the counts (a mixture over a grid, by maximum likelihood), and what is measured, and
kept, is drawn from it.
"""

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy.stats import binom

from workflow_scripts.lib.statistics import Estimate, spearman

Array = np.ndarray
GRID = np.linspace(0, 1, 33)
STEPS = 500
DRAWS = 50_000
RESPONSE = ["problem_id", "sample"]


def kept_ceiling(values: pl.DataFrame, gamma: float, min_abs_delta: float, rng: np.random.Generator) -> Estimate:
    """Spearman correlation of true and measured TD errors among paragraphs with a large measured one.

    No predictor can do better. `values` is a values table, whole or of some problems. An estimate without interval,
    somewhat too high rather than too low where continuations are few: the mixture takes part of the noise for truth.
    """
    before = pl.col("n_right").shift(1).over(RESPONSE).alias("before")
    ends = values.sort(*RESPONSE, "boundary").with_columns(before).filter(pl.col("delta").is_not_null())
    if ends["kept"].sum() < 3:
        return Estimate(None, None, None, f"{ends['kept'].sum()} kept paragraphs: too few for a correlation")
    n = int(values["n"].max())  # type: ignore[arg-type]
    parts = []
    for exact in (False, True):
        part = ends.filter((pl.col("n") == 0) == exact)
        after = part["value"].cast(pl.Int64) if exact else part["n_right"]
        if len(part):
            draws = round(DRAWS * len(part) / len(ends))
            parts.append(draw_td_errors(part["before"].to_numpy(), after.to_numpy(), n, exact, gamma, draws, rng))
    true, measured = np.concatenate(parts, axis=1)
    picked = np.abs(measured) > min_abs_delta
    reached = float(spearman(true[picked], measured[picked]))
    if np.isnan(reached) or reached <= 0:
        return Estimate(None, None, None, "the kept TD errors cannot be told from noise")
    return Estimate(reached, None, None)


def draw_td_errors(
    before: Int[Array, " paragraphs"],
    after: Int[Array, " paragraphs"],
    n: int,
    exact: bool,
    gamma: float,
    draws: int,
    rng: np.random.Generator,
) -> Float[Array, "2 draws"]:
    """True and measured TD errors of paragraphs like the observed ones.

    The ends of those had `before` and `after` of `n` continuations right. With `exact`, `after` is the reward of the
    response, which ends there.
    """
    trials = np.asarray(binom.pmf(np.arange(n + 1)[:, None], n, GRID))  # probability of each count at each true value
    kinds, counts = np.unique(np.stack([before, after]), axis=1, return_counts=True)
    ends, end_values = (np.eye(2), np.array([0.0, 1.0])) if exact else (trials, GRID)
    likelihood = (trials[kinds[0]][:, :, None] * ends[kinds[1]][:, None, :]).reshape(len(counts), -1)
    cells = rng.choice(likelihood.shape[1], size=draws, p=mixture(likelihood, counts))
    first, second = GRID[cells // len(end_values)], end_values[cells % len(end_values)]
    measured_end = second if exact else rng.binomial(n, second) / n
    return np.stack([gamma * second - first, gamma * measured_end - rng.binomial(n, first) / n])


def mixture(likelihood: Float[Array, "kinds cells"], counts: Int[Array, " kinds"]) -> Float[Array, " cells"]:
    """Weights of the cells that make the observed kinds most likely (expectation maximisation from equal weights)."""
    weights = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(STEPS):
        weights = weights * ((counts / (likelihood @ weights)) @ likelihood) / counts.sum()
    return weights / weights.sum()
