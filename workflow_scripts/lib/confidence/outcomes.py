"""Telling right answers from wrong ones before they are given, and what is chosen (method, section 8; Table 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from workflow_scripts.lib.confidence.folds import Folds, fold_auc, out_of_fold
from workflow_scripts.lib.probes.perceptrons import Probes, ranking
from workflow_scripts.lib.probes.pruning import curve
from workflow_scripts.lib.statistics.ranks import auc, one_class, round_ties

Array = np.ndarray
REGULARIZATIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Values of scikit-learn's `C` for the logistic regression."""
ANSWERED = 0.9
"""Least share of the validation problems that a method must score."""
NO_FOLDS = "fewer than two training problems: no folds to choose or to calibrate by"


@dataclass(frozen=True)
class Outcome:
    """Scores of one method, from one layer and probe where it has several, larger for more confidence.

    `training` [R]: those that calibration may use, of a fitted method out of fold; NaN where there is none. `choice`:
    what was chosen; `undefined` says why there are no scores at all, `uncalibrated` why there are no probabilities.
    `trained`: whether `training` is out of fold.
    """

    method: str
    training: Float[Array, " responses"]
    validation: Float[Array, " held_out"]
    layer: int | None = None
    seed: int | None = None
    prune_ratio: float | None = None
    regularization: float | None = None
    sign: int | None = None
    selection_auc: float | None = None
    trained: bool = False
    undefined: str | None = None
    uncalibrated: str | None = None


@dataclass(frozen=True)
class Labels:
    """Rewards (float64, 0 or 1) of the training and of the validation responses, and the training folds."""

    training: Float[Array, " responses"]
    validation: Float[Array, " held_out"]
    folds: Folds


def class_means(states: Float[Tensor, "n d"], rewards: Float[Array, " n"]) -> Callable[[Tensor], Array]:
    """The latent correctness direction: mean of the right less mean of the wrong, projections centred between them."""
    inputs = states.double().numpy()
    right, wrong = inputs[rewards > 0].mean(0), inputs[rewards == 0].mean(0)
    return lambda others: (others.double().numpy() - (right + wrong) / 2) @ (right - wrong)


def logistic(states: Float[Tensor, "n d"], rewards: Float[Array, " n"], c: float) -> Callable[[Tensor], Array]:
    """Log-odds by logistic regression with L2 penalty 1/c on standardised inputs."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000))
    model.fit(states.double().numpy(), rewards.astype(int))
    return lambda others: model.decision_function(others.double().numpy())


def linear_candidate(
    method: str, states: tuple[Tensor, Tensor], layer: int, labels: Labels, c: float | None = None
) -> Outcome:
    """A linear method at one layer: scores out of fold, and on validation by the whole training part.

    `states`: s_0 of the training and of the validation responses, [R, d] each.
    """

    def fit(inputs: Tensor, rewards: Array) -> Callable[[Tensor], Array]:
        return class_means(inputs, rewards) if c is None else logistic(inputs, rewards, c)

    scores = out_of_fold(fit, states[0], labels.training, labels.folds)
    held_out = np.full(len(labels.validation), np.nan)
    if one_class(labels.training, "training") is None and len(held_out):
        held_out = fit(states[0], labels.training)(states[1])
    found = float(fold_auc(scores, labels.training, labels.folds))
    return Outcome(method, scores, held_out, layer, None, None, c, selection_auc=found, trained=True)


def nothing(method: str, labels: Labels, reason: str, layer: int | None = None, seed: int | None = None) -> Outcome:
    """A fitted method without scores."""
    training, validation = (np.full(len(part), np.nan) for part in (labels.training, labels.validation))
    found = Outcome(method, training, validation, layer, seed, trained=True)
    return replace(found, undefined=reason, uncalibrated=reason)


def best(candidates: Sequence[Outcome], labels: Labels) -> Outcome:
    """The candidate with the largest AUC over folds, the first of equal ones."""
    found = np.array([candidate.selection_auc for candidate in candidates])
    if np.isnan(found).all():
        return nothing(candidates[0].method, labels, unchosen(labels))
    return candidates[int(np.nanargmax(found))]


def unchosen(labels: Labels) -> str:
    """Why the folds give no AUC to choose by."""
    few = NO_FOLDS if labels.folds.n < 2 else "no training fold holds both right and wrong responses"
    return one_class(labels.training, "training") or few


def value_outcomes(
    method: str,
    probes: Probes,
    held_out: Float[Tensor, "held_out d"],
    ratios: Sequence[float],
    by_fold: Float[Array, "ratios responses"] | None,
    labels: Labels,
) -> list[Outcome]:
    """One outcome for each probe of a layer (seeds on true rewards) at the layer's prune ratio.

    `value_neurons` takes the ratio with the best mean AUC of the seeds on validation, `value_neurons_cv` the one with
    the best mean AUC over the training folds (`by_fold`, None without folds); the lower ratio of equal ones.
    """
    predicted = round_ties(curve(probes, held_out, ranking(probes), ratios))
    scores, reason = ratio_scores(method, predicted, by_fold, labels)
    place = 0 if reason else int(np.nanargmax(scores))
    outcomes = []
    for spec, outputs in zip(probes.specs, predicted[place], strict=True):
        if reason:
            outcomes.append(nothing(method, labels, reason, spec.layer, spec.seed))
            continue
        training = np.full(len(labels.training), np.nan) if by_fold is None else by_fold[place]
        found = Outcome(method, training, outputs.astype(float), spec.layer, spec.seed, ratios[place], trained=True)
        uncalibrated = NO_FOLDS if by_fold is None else None
        outcomes.append(replace(found, selection_auc=float(scores[place]), uncalibrated=uncalibrated))
    return outcomes


def ratio_scores(
    method: str,
    predicted: Float[Array, "ratios seeds held_out"],
    by_fold: Float[Array, "ratios responses"] | None,
    labels: Labels,
) -> tuple[Float[Array, " ratios"], str | None]:
    """The AUC that each prune ratio is judged by, or why there is none to choose by."""
    if method == "value_neurons":
        scores = auc(predicted, labels.validation.astype(int)).mean(1)
        missing = one_class(labels.validation, "validation")
    else:
        undefined = np.full(len(predicted), np.nan)
        scores = undefined if by_fold is None else fold_auc(by_fold, labels.training, labels.folds)
        missing = None
    reason = one_class(labels.training, "training")
    if reason is None and not np.isfinite(scores).any():
        reason = f"no prune ratio can be chosen: {missing or unchosen(labels)}"
    return scores, reason


def spoken_outcome(
    method: str,
    training: Float[Array, " responses"],
    validation: Float[Array, " held_out"],
    words: tuple[str, str],
    labels: Labels,
) -> Outcome:
    """A method that only the model was asked for; NaN where it gave nothing.

    `words`: what to say where it never gave anything, and what it gives.
    """
    answered = int((~np.isnan(validation)).sum())
    undefined = None
    if answered < ANSWERED * len(validation):
        needed = f"for only {answered} of {len(validation)} validation responses; {100 * ANSWERED:g} % are needed"
        undefined = f"{words[1]} {needed}" if answered or (~np.isnan(training)).any() else words[0]
    missing = "no training response has a score" if np.isnan(training).all() else None
    return Outcome(
        method,
        training,
        validation,
        undefined=undefined,
        uncalibrated=undefined or one_class(labels.training, "training") or missing,
    )


def length_outcome(
    training: Float[Array, " responses"], validation: Float[Array, " held_out"], labels: Labels
) -> Outcome:
    """Question length, with the sign that ranks right answers of the training part higher; + where it says neither."""
    reason = one_class(labels.training, "training")
    found = float(auc(training, labels.training.astype(int)))
    sign = -1 if found < 0.5 else 1
    return Outcome(
        "question_length",
        sign * training,
        sign * validation,
        sign=None if reason else sign,
        selection_auc=None if reason else max(found, 1 - found),
        undefined=reason and f"no sign can be chosen: {reason}",
        uncalibrated=reason,
    )


def calibrate(
    training: Float[Array, " n"], rewards: Float[Array, " n"], scores: Float[Array, " m"]
) -> Float[Array, " m"]:
    """The chance of being right at each score, by isotonic regression of the training rewards on the training scores.

    Training rows without a score are left out; a score of NaN stays NaN; scores beyond the training range get the
    chance at its end.
    """
    known, wanted = ~np.isnan(training), ~np.isnan(scores)
    found = np.full(len(scores), np.nan)
    if known.any() and wanted.any():
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(training[known], rewards[known])
        found[wanted] = fitted.predict(scores[wanted])
    return found


def probabilities(outcome: Outcome, labels: Labels) -> Float[Array, " held_out"]:
    """Calibrated chances of being right, on validation; NaN where there are none."""
    if outcome.uncalibrated:
        return np.full(len(outcome.validation), np.nan)
    return calibrate(outcome.training, labels.training, outcome.validation)
