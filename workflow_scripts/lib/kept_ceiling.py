"""The noise ceiling of paragraphs that were picked by their own noisy TD error.

Among paragraphs with a large measured |delta| the errors of both halves of the continuations point the same way, for
they helped to pick them. Split halves then promise too much: on pure noise, with 16 continuations and a threshold of
0.3, a ceiling of 0.85. So the picking is simulated instead: the joint distribution of the true values at the two ends
of a paragraph is estimated from the counts (a mixture over a grid, by maximum likelihood), and what is measured, and
kept, is drawn from it.

How many continuations were drawn may have depended on them (`lib.sequential`). The likelihood of the true values is the
same for that: it knows the counts alone. What would be measured is drawn as it was drawn, round by round.
"""

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy.stats import binom

from workflow_scripts.lib.sequential import Design, draw_estimates
from workflow_scripts.lib.statistics import Estimate, spearman

Array = np.ndarray
GRID = np.linspace(0, 1, 33)
STEPS = 500
DRAWS = 50_000
RESPONSE = ["problem_id", "sample"]
COUNTS = ["n_right", "n"]


def kept_ceiling(
    values: pl.DataFrame, design: Design, gamma: float, min_abs_delta: float, rng: np.random.Generator
) -> Estimate:
    """Spearman correlation of true and measured TD errors among paragraphs with a large measured one.

    No predictor can do better. `values` is a values table, whole or of some problems. An estimate without interval,
    somewhat too high rather than too low where continuations are few: the mixture takes part of the noise for truth.
    """
    before = [pl.col(name).shift(1).over(RESPONSE).alias(f"{name}_before") for name in COUNTS]
    ends = values.sort(*RESPONSE, "boundary").with_columns(before).filter(pl.col("delta").is_not_null())
    if ends["kept"].sum() < 3:
        return Estimate(None, None, None, f"{ends['kept'].sum()} kept paragraphs: too few for a correlation")
    parts = []
    for exact in (False, True):
        part = ends.filter((pl.col("n") == 0) == exact)
        if len(part):
            first = part.select("n_right_before", "n_before")
            last = part.select(pl.col("value").cast(pl.Int64), "n") if exact else part.select(COUNTS)
            counts = np.hstack([first.to_numpy(), last.to_numpy()])
            draws = round(DRAWS * len(part) / len(ends))
            parts.append(draw_td_errors(counts, design, exact, gamma, draws, rng))
    true, measured = np.concatenate(parts, axis=1)
    picked = np.abs(measured) > min_abs_delta
    reached = float(spearman(true[picked], measured[picked]))
    if np.isnan(reached) or reached <= 0:
        return Estimate(None, None, None, "the kept TD errors cannot be told from noise")
    return Estimate(reached, None, None)


def draw_td_errors(
    counts: Int[Array, "paragraphs 4"],
    design: Design,
    exact: bool,
    gamma: float,
    draws: int,
    rng: np.random.Generator,
) -> Float[Array, "2 draws"]:
    """True and measured TD errors of paragraphs like the observed ones.

    `counts` are the right continuations, and all, at the start and the end of those. With `exact` the response ends
    there, and its reward stands for the right ones.
    """
    kinds, often = np.unique(counts, axis=0, return_counts=True)
    right, n, end_right, end_n = kinds.T[:, :, None]
    end_values = np.array([0.0, 1.0]) if exact else GRID
    starts = np.asarray(binom.pmf(right, n, GRID))
    ends = np.asarray((end_right == end_values) if exact else binom.pmf(end_right, end_n, GRID))
    likelihood = (starts[:, :, None] * ends[:, None, :]).reshape(len(often), -1)
    cells = rng.choice(likelihood.shape[1], size=draws, p=mixture(likelihood, often))
    first, second = GRID[cells // len(end_values)], end_values[cells % len(end_values)]
    measured_end = second if exact else draw_estimates(design, second, rng)
    return np.stack([gamma * second - first, gamma * measured_end - draw_estimates(design, first, rng)])


def mixture(likelihood: Float[Array, "kinds cells"], counts: Int[Array, " kinds"]) -> Float[Array, " cells"]:
    """Weights of the cells that make the observed kinds most likely (expectation maximisation from equal weights)."""
    weights = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(STEPS):
        weights = weights * ((counts / (likelihood @ weights)) @ likelihood) / counts.sum()
    return weights / weights.sum()
