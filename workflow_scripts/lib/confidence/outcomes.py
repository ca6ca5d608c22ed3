"""Predict before an answer is given whether it is correct, and make the needed choices (method, section 8; Table 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, cat, where

from workflow_scripts.lib.confidence.folds import Folds, fold_auc, out_of_fold
from workflow_scripts.lib.probes.perceptrons import Probes, ranking
from workflow_scripts.lib.probes.pruning import curve
from workflow_scripts.lib.statistics.ranks import auc, one_class, round_ties

Array = np.ndarray
REGULARIZATIONS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Values of scikit-learn's `C` for the logistic regression."""
ANSWERED = 0.9
"""Least share of the validation problems that a method must score."""
ROUNDING = 2.0**-18
"""Rounding errors of a hidden state in single precision, as a share of its length."""
NO_FOLDS = "fewer than two training problems: no folds to choose or to calibrate by"


@dataclass(frozen=True)
class Outcome:
    """Scores of one method, of one layer and probe where it has several; larger means more confidence.

    `training` [R]: those that calibration may use, out of fold for a fitted method; NaN where there is none. The
    choices are None where a method has none; `undefined` says why there are no scores at all, `uncalibrated` why there
    are no probabilities. `trained`: whether `training` is out of fold.
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
    """Return the latent correctness direction: mean of the correct minus mean of the incorrect responses.

    Projections are centred between the two means.
    """
    inputs = states.double().numpy()
    correct, incorrect = inputs[rewards > 0].mean(0), inputs[rewards == 0].mean(0)
    return lambda others: (others.double().numpy() - (correct + incorrect) / 2) @ (correct - incorrect)


def logistic(states: Float[Tensor, "n d"], rewards: Float[Array, " n"], c: float) -> Callable[[Tensor], Array]:
    """Fit log-odds by logistic regression with L2 penalty 1/c on standardised inputs."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=5000))
    model.fit(states.double().numpy(), rewards.astype(int))
    return lambda others: model.decision_function(others.double().numpy())


def without_rounding(states: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Set coordinates that only rounding makes differ, such as those of one prompt in many batches, to one value.

    A fit would magnify their noise until it ranks the responses. `states`: [R, d] each.
    """
    both = cat(states)
    if not len(both):
        return states
    still = both.amax(0) - both.amin(0) <= ROUNDING * both.norm(dim=1).max()
    training, validation = (where(still, both[0], part) for part in states)
    return training, validation


def linear_candidate(
    method: str, states: tuple[Tensor, Tensor], layer: int, labels: Labels, c: float | None = None
) -> Outcome:
    """Fit a linear method at one layer: scores out of fold, and on validation by the whole training part.

    `states`: s_0 of the training and of the validation responses, [R, d] each.
    """

    def fit(inputs: Tensor, rewards: Array) -> Callable[[Tensor], Array]:
        return class_means(inputs, rewards) if c is None else logistic(inputs, rewards, c)

    scores = out_of_fold(fit, states[0], labels.training, labels.folds)
    held_out = np.full(len(labels.validation), np.nan)
    if one_class(labels.training, "training") is None and len(held_out):
        held_out = fit(states[0], labels.training)(states[1])
    score = float(fold_auc(scores, labels.training, labels.folds))
    return Outcome(method, scores, held_out, layer, None, None, c, selection_auc=score, trained=True)


def nothing(method: str, labels: Labels, reason: str, layer: int | None = None, seed: int | None = None) -> Outcome:
    """Return the outcome of a fitted method without scores."""
    training, validation = (np.full(len(part), np.nan) for part in (labels.training, labels.validation))
    outcome = Outcome(method, training, validation, layer, seed, trained=True)
    return replace(outcome, undefined=reason, uncalibrated=reason)


def best(candidates: Sequence[Outcome], labels: Labels) -> Outcome:
    """Return the candidate with the largest AUC over folds, the first of equal ones."""
    scores = np.array([candidate.selection_auc for candidate in candidates])
    if np.isnan(scores).all():
        return nothing(candidates[0].method, labels, unchosen(labels))
    return candidates[int(np.nanargmax(scores))]


def unchosen(labels: Labels) -> str:
    """Say why the folds give no AUC to choose by."""
    few = NO_FOLDS if labels.folds.n < 2 else "no training fold has both correct and incorrect responses"
    return one_class(labels.training, "training") or few


def value_outcomes(
    method: str,
    probes: Probes,
    held_out: Float[Tensor, "held_out d"],
    ratios: Sequence[float],
    by_fold: Float[Array, "ratios responses"] | None,
    labels: Labels,
) -> list[Outcome]:
    """Return one outcome for each probe of a layer (seeds on true rewards) at the layer's prune ratio.

    `value_neurons` takes the ratio with the best mean AUC of the seeds on validation, `value_neurons_cv` the one with
    the best mean AUC over the training folds (`by_fold`, None without folds); the lower ratio of equal ones.
    """
    predicted = round_ties(curve(probes, held_out, ranking(probes), ratios))
    scores, reason = ratio_scores(method, predicted, by_fold, labels)
    chosen = 0 if reason else int(np.nanargmax(scores))
    outcomes = []
    for spec, outputs in zip(probes.specs, predicted[chosen], strict=True):
        if reason:
            outcomes.append(nothing(method, labels, reason, spec.layer, spec.seed))
            continue
        training = np.full(len(labels.training), np.nan) if by_fold is None else by_fold[chosen]
        outcome = Outcome(method, training, outputs.astype(float), spec.layer, spec.seed, ratios[chosen], trained=True)
        uncalibrated = NO_FOLDS if by_fold is None else None
        outcomes.append(replace(outcome, selection_auc=float(scores[chosen]), uncalibrated=uncalibrated))
    return outcomes


def ratio_scores(
    method: str,
    predicted: Float[Array, "ratios seeds held_out"],
    by_fold: Float[Array, "ratios responses"] | None,
    labels: Labels,
) -> tuple[Float[Array, " ratios"], str | None]:
    """Return the AUC by which each prune ratio is chosen, or the reason why there is none."""
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


def verbalized_outcome(
    method: str,
    training: Float[Array, " responses"],
    validation: Float[Array, " held_out"],
    words: tuple[str, str],
    labels: Labels,
    undefined: str | None = None,
) -> Outcome:
    """Return the outcome of a method for which only the model is asked; NaN where it gave nothing.

    `words`: the reason where it never gave anything, and a name of what it gives. `undefined`: another reason.
    """
    answered = int((~np.isnan(validation)).sum())
    if undefined is None and answered < ANSWERED * len(validation):
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
    """Return question length, with the sign that ranks correct answers of the training part higher.

    The sign is + where the training part has no order.
    """
    reason = one_class(labels.training, "training")
    score = float(auc(training, labels.training.astype(int)))
    sign = -1 if score < 0.5 else 1
    return Outcome(
        "question_length",
        sign * training,
        sign * validation,
        sign=None if reason else sign,
        selection_auc=None if reason else max(score, 1 - score),
        undefined=reason and f"no sign can be chosen: {reason}",
        uncalibrated=reason,
    )


def calibrate(
    training: Float[Array, " n"], rewards: Float[Array, " n"], scores: Float[Array, " m"]
) -> Float[Array, " m"]:
    """Return the chance of a correct answer at each score, by isotonic regression of training rewards on scores.

    Training rows without a score are left out; a score of NaN stays NaN; scores beyond the training range get the
    chance at its end.
    """
    known, scored = ~np.isnan(training), ~np.isnan(scores)
    chances = np.full(len(scores), np.nan)
    if known.any() and scored.any():
        fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(training[known], rewards[known])
        chances[scored] = fitted.predict(scores[scored])
    return chances


def probabilities(outcome: Outcome, labels: Labels) -> Float[Array, " held_out"]:
    """Return calibrated chances of correct answers, on validation; NaN where there are none."""
    if outcome.uncalibrated:
        return np.full(len(outcome.validation), np.nan)
    return calibrate(outcome.training, labels.training, outcome.validation)
