"""From scores of validation responses to measures with intervals: one run at a time, and the mean over runs.

All methods of a run are resampled alike (`ConfidenceRun.weights`), so differences between them are paired. Resampling
keeps earlier choices and fits fixed: an interval does not include the variation due to other choices.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from jaxtyping import Bool, Float, Int

from workflow_scripts.lib.confidence import calibration
from workflow_scripts.lib.confidence.methods import METHODS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import problem_weights, weighted_auc
from workflow_scripts.lib.statistics.intervals import Estimate, Resampling, estimate
from workflow_scripts.lib.statistics.ranks import one_class

Array = np.ndarray
MEASURES = ("auc", "brier", "ece", "auc_within_length")
FEWEST = 10
"""Problems in a bin, at least."""


@dataclass(frozen=True)
class MeasureSettings(Resampling):
    """Settings of the measures: resampling, bins of the calibration error, strata of question length."""

    bins: int
    strata: int


@dataclass(frozen=True)
class MethodScores:
    """One method on the validation responses of a run.

    `scores` [k, n]: one row for each layer and probe, NaN where there is none; `probabilities` [n]: their mean.
    `undefined` and `uncalibrated` say why there are none.
    """

    scores: Float[Array, "k n"]
    probabilities: Float[Array, " n"]
    undefined: str | None
    uncalibrated: str | None

    @property
    def known(self) -> Bool[Array, " n"]:
        """The responses that are scored."""
        return ~np.isnan(self.scores).any(0)


@dataclass(frozen=True)
class ConfidenceRun:
    """The validation responses of one run: outcomes, strata, bootstrap weights `[n, 1 + draws]`, scores by method.

    The first column of the weights is one throughout: the data themselves. `samples`: responses of a problem.
    """

    correct: Bool[Array, " n"]
    strata: Int[Array, " n"]
    weights: Float[Array, "n draws"]
    methods: dict[str, MethodScores]
    samples: float


@dataclass(frozen=True)
class Drawn:
    """A number (first) and its bootstrap draws, or the reason why there is none."""

    numbers: Float[Array, " draws"]
    reason: str | None = None


def run_of(rows: pl.DataFrame, choices: pl.DataFrame, name: tuple[str, str], how: MeasureSettings) -> ConfidenceRun:
    """Build a run from its scores and its choices.

    Raises:
        UserError: they do not belong together.
    """
    responses = rows.unique(["problem_id", "sample"]).sort("problem_id", "sample")
    problems = responses.unique("problem_id").sort("problem_id")
    groups = responses["problem_id"].rank("dense").to_numpy().astype(np.int64) - 1
    drawn = problem_weights(groups, how.resamples, generator(how.seed, "confidence", *name))
    strata = calibration.strata_of(problems["prompt_tokens"].to_numpy(), how.strata)
    methods = {}
    for method in METHODS:
        chosen = choices.filter(pl.col("method") == method)
        of_method = rows.filter(pl.col("method") == method).sort("layer", "seed", "problem_id", "sample")
        shape = (len(chosen), len(responses))
        if len(of_method) != len(chosen) * len(responses) or not len(chosen):
            where = f"results/confidence/{'/'.join(name)}"
            raise UserError(f"{where}: scores and choices of {method} do not match; delete them and run again")
        scores, chances = (
            of_method[column].fill_null(float("nan")).to_numpy().reshape(shape) for column in ("score", "probability")
        )
        undefined, uncalibrated = (chosen[column].drop_nulls().to_list() for column in ("undefined", "uncalibrated"))
        methods[method] = MethodScores(scores, chances.mean(0), (undefined or [None])[0], (uncalibrated or [None])[0])
    weights = np.concatenate([np.ones((len(groups), 1)), drawn], axis=1)
    samples = len(groups) / max(len(problems), 1)
    return ConfidenceRun(responses["reward"].to_numpy() > 0, strata[groups], weights, methods, samples)


def aucs(run: ConfidenceRun, method: str, known: Bool[Array, " n"], within: bool = False) -> Drawn:
    """Return the mean over layers and probes of the AUC, of all pairs or of those within strata of length."""
    scores = run.methods[method]
    reason = scores.undefined or one_class(run.correct[known].astype(float), "validation")
    if reason:
        return Drawn(np.full(run.weights.shape[1], np.nan), reason)
    strata = run.strata[known] if within else np.zeros(known.sum(), dtype=int)
    each = [weighted_auc(row[known], run.correct[known], run.weights[known], strata) for row in scores.scores]
    numbers = np.mean(each, axis=0)
    missing = "no stratum of question length has both correct and incorrect responses" if np.isnan(numbers[0]) else None
    return Drawn(numbers, missing)


def measure(run: ConfidenceRun, method: str, how: MeasureSettings) -> dict[str, Drawn]:
    """Compute all measures of one method."""
    scores = run.methods[method]
    known = scores.known
    measures = {"auc": aucs(run, method, known), "auc_within_length": aucs(run, method, known, within=True)}
    reason = scores.undefined or scores.uncalibrated or (None if known.any() else "no validation responses")
    if reason:
        nothing = Drawn(np.full(run.weights.shape[1], np.nan), reason)
        return measures | {"brier": nothing, "ece": nothing}
    data = (scores.probabilities[known], run.correct[known], run.weights[known])
    measures["brier"] = Drawn(calibration.brier(*data))
    measures["ece"] = Drawn(calibration.calibration_error(*data, bins_of(run, scores.probabilities[known], how)))
    return measures


def bins_of(run: ConfidenceRun, probabilities: Float[Array, " n"], how: MeasureSettings) -> Int[Array, " n"]:
    """Return the bin of each response, for the calibration error and the reliability diagram alike.

    A bin holds the responses to `FEWEST` problems at least.
    """
    return calibration.bins_of(probabilities, how.bins, FEWEST * run.samples)


def difference(run: ConfidenceRun, method: str, against: str) -> Drawn:
    """Return the AUC of one method minus that of another, on the responses that both score."""
    known = run.methods[method].known & run.methods[against].known
    first, second = (aucs(run, name, known) for name in (method, against))
    reasons = [f"{name}: {one.reason}" for name, one in ((method, first), (against, second)) if one.reason]
    return Drawn(first.numbers - second.numbers, "; ".join(reasons) or None)


def mean_over(runs: dict[tuple[str, str], Drawn]) -> Drawn:
    """Return the mean over runs, each resampled separately; none where a run has no number."""
    missing = [f"{'/'.join(name)}: {one.reason}" for name, one in runs.items() if one.reason]
    return Drawn(np.mean([one.numbers for one in runs.values()], axis=0), "; ".join(missing) or None)


def settle(drawn: Drawn, how: Resampling) -> Estimate:
    """Return the number with its interval."""
    if drawn.reason:
        return Estimate(None, None, None, drawn.reason)
    return estimate(float(drawn.numbers[0]), drawn.numbers[1:], how.confidence)


def reasons(estimates: dict[str, Estimate]) -> str | None:
    """Say why numbers or intervals are missing: each reason once, with its measures unless it applies to all."""
    by_reason: dict[str, list[str]] = {}
    for name, one in estimates.items():
        if one.reason:
            by_reason.setdefault(one.reason, []).append(name)
    parts = [
        reason if len(names) == len(estimates) else f"{', '.join(names)}: {reason}"
        for reason, names in by_reason.items()
    ]
    return "; ".join(parts) or None


def texts(choices: pl.DataFrame, method: str) -> dict[str, str | None]:
    """Return layers, prune ratios by layer, and the data they were chosen on, in words."""
    chosen = choices.filter(pl.col("method") == method)
    layers = chosen["layer"].drop_nulls().unique(maintain_order=True).to_list()
    ratios = chosen.drop_nulls("prune_ratio").unique("layer", maintain_order=True).select("layer", "prune_ratio").rows()
    return {
        "layers": ", ".join(map(str, layers)) or None,
        "prune_ratios": ", ".join(f"{layer}: {ratio:g}" for layer, ratio in ratios) or None,
        "chosen_on": chosen["chosen_on"].first() if len(chosen) else None,  # type: ignore[dict-item]
    }
