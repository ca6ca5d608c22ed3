"""The noise ceiling of paragraphs that were picked by their own noisy TD error.

Among paragraphs with a large measured |delta| the errors of both halves of the continuations point the same way,
because they helped to select them. Split halves then promise too much: on pure noise, with 16 continuations and a
threshold of 0.3, a ceiling of 0.85. So the selection is simulated instead: the joint distribution of the true values at
the two ends of a paragraph is estimated from the counts (a mixture over a grid, by maximum likelihood), and measured
and kept TD errors are drawn from it.

The number of continuations may have depended on their outcome (`values.adaptive`). This does not change the likelihood
of the true values, which depends only on the counts. Measurements are simulated round by round, as they were made.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from scipy.stats import binom

from workflow_scripts.lib.statistics.intervals import Array, Estimate
from workflow_scripts.lib.statistics.ranks import pearson, spearman
from workflow_scripts.lib.values.adaptive import Design, draw_estimates

GRID = np.linspace(0, 1, 33)
STEPS = 500
DRAWS = 50_000
RESPONSE = ["problem_id", "sample"]
COUNTS = ["n_right", "n"]


def kept_ceiling(
    values: pl.DataFrame, design: Design, gamma: float, min_abs_delta: float, rng: np.random.Generator
) -> Estimate:
    """Return the Spearman correlation of true and measured TD errors among paragraphs with a large measured one.

    No predictor can do better. `values` is a values table, whole or of some problems. The estimate has no
    interval. With few continuations it is somewhat too high, because the mixture takes part of the noise for signal.
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
    correlation = float(spearman(true[picked], measured[picked]))
    if np.isnan(correlation) or correlation <= 0:
        return Estimate(None, None, None, "the kept TD errors cannot be distinguished from noise")
    return Estimate(correlation, None, None)


def draw_td_errors(
    counts: Int[Array, "paragraphs 4"],
    design: Design,
    exact: bool,
    gamma: float,
    draws: int,
    rng: np.random.Generator,
) -> Float[Array, "2 draws"]:
    """Draw true and measured TD errors of paragraphs like the observed ones.

    `counts` are the numbers of correct and of all continuations at the start and at the end of each paragraph. With
    `exact` the response ends there, and its reward is given in place of the correct ones.
    """
    kinds, frequencies = np.unique(counts, axis=0, return_counts=True)
    correct, n, end_correct, end_n = kinds.T[:, :, None]
    end_values = np.array([0.0, 1.0]) if exact else GRID
    starts = np.asarray(binom.pmf(correct, n, GRID))
    ends = np.asarray((end_correct == end_values) if exact else binom.pmf(end_correct, end_n, GRID))
    likelihood = (starts[:, :, None] * ends[:, None, :]).reshape(len(frequencies), -1)
    cells = rng.choice(likelihood.shape[1], size=draws, p=mixture(likelihood, frequencies))
    first, second = GRID[cells // len(end_values)], end_values[cells % len(end_values)]
    measured_end = second if exact else draw_estimates(design, second, rng)
    return np.stack([gamma * second - first, gamma * measured_end - draw_estimates(design, first, rng)])


def mixture(likelihood: Float[Array, "kinds cells"], counts: Int[Array, " kinds"]) -> Float[Array, " cells"]:
    """Return cell weights that make the observed kinds most likely (expectation maximisation from equal weights)."""
    weights = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(STEPS):
        weights = weights * ((counts / (likelihood @ weights)) @ likelihood) / counts.sum()
    return weights / weights.sum()


def spearman_brown(half_correlation: float, lengthening: float = 2.0) -> float:
    """Return the reliability at `lengthening` times the length of two that correlate so (Spearman and Brown, 1910)."""
    return lengthening * half_correlation / (1 + (lengthening - 1) * half_correlation)


@dataclass(frozen=True)
class NoiseCeiling:
    """Best possible score of a perfect predictor of a noisy measurement; None with a reason where it is undefined."""

    half_correlation: float | None
    reliability: float | None
    ceiling: float | None
    reason: str | None = None


def noise_ceiling(
    delta_a: Float[Array, " n"],
    delta_b: Float[Array, " n"],
    rank: bool = True,
    delta: Float[Array, " n"] | None = None,
) -> NoiseCeiling:
    """Return the largest correlation of a predictor of the true TD error with the measured one (method, section 5).

    The two halves of the continuations give two measurements with independent errors, so their correlation is the
    reliability (the share of the variance that is not noise) of a measurement from N/2 continuations; Spearman-Brown
    lengthens it to N. A perfect predictor then correlates by the square root of that with what is measured, because
    corr(true, measured) = sd(true) / sd(measured) = sqrt(reliability). `rank` takes Spearman's correlation of the
    halves, for a ceiling of Spearman correlations; the formulas are exact for Pearson's, approximate for Spearman's.

    `delta` is the measurement, where it uses more than the two halves; how much longer it is than one of them then
    follows from their distances (`lengthening`).

    Pairs with a NaN are left out. Pass all paragraphs: among those with a large measured |delta| the errors of both
    halves point the same way, and even pure noise then looks reliable. Use `kept_ceiling` for those.
    """
    delta_a, delta_b = np.asarray(delta_a, float), np.asarray(delta_b, float)
    present = ~(np.isnan(delta_a) | np.isnan(delta_b))
    if present.sum() < 3:
        return NoiseCeiling(None, None, None, f"{present.sum()} paragraphs with two halves: too few for a correlation")
    half = float((spearman if rank else pearson)(delta_a[present], delta_b[present]))
    if np.isnan(half):
        return NoiseCeiling(None, None, None, "one half gives the same TD error everywhere")
    if half <= 0:
        return NoiseCeiling(
            half, None, None, "the halves do not agree: the TD errors cannot be distinguished from noise"
        )
    longer = (
        2.0 if delta is None else lengthening(delta_a[present], delta_b[present], np.asarray(delta, float)[present])
    )
    if np.isnan(longer):
        return NoiseCeiling(half, None, None, "the halves lie no further apart than what is measured from all")
    reliability = spearman_brown(half, longer)
    return NoiseCeiling(half, reliability, float(np.sqrt(reliability)))


def lengthening(half_a: Float[Array, " n"], half_b: Float[Array, " n"], whole: Float[Array, " n"]) -> float:
    """Return the mean squared error of the halves over that of `whole`: 2 if `whole` is their mean, NaN if undefined.

    Both halves are unbiased with independent errors, so the first is half their mean squared difference. `whole` is
    the expectation of either half, given all that was sampled (Rao and Blackwell), so its error is that of the halves
    less their mean squared distance from `whole`.
    """
    error_of_halves = float(np.mean((half_a - half_b) ** 2)) / 2
    error_of_whole = error_of_halves - float(np.mean((half_a - whole) ** 2 + (half_b - whole) ** 2)) / 2
    return error_of_halves / error_of_whole if error_of_whole > 0 else float("nan")
