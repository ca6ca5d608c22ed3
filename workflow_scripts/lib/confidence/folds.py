"""Cross-validation inside the training part: folds of problems, and scores of each fold by probes of the others."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_scripts.lib.config.sections import ValueProbes
from workflow_scripts.lib.models.activation_files import ActivationFiles
from workflow_scripts.lib.probes.data import Responses, number_of_states, take, training_units
from workflow_scripts.lib.probes.perceptrons import ranking, specs_of
from workflow_scripts.lib.probes.pruning import curve
from workflow_scripts.lib.probes.trainer import layer_groups, training_of, value_loss
from workflow_scripts.lib.probes.training import Units, n_batches, train
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.seeds import uniform
from workflow_scripts.lib.statistics.ranks import auc, round_ties

Array = np.ndarray


@dataclass(frozen=True)
class Folds:
    """The fold of each training response (int64 [R]) and how many folds there are: none, or two or more."""

    numbers: Int[Array, " responses"]
    n: int

    def parts(self) -> list[tuple[Int[Array, " fitted"], Int[Array, " held_out"]]]:
        """Return for each fold the indices of the responses outside and inside it."""
        return [(np.flatnonzero(self.numbers != k), np.flatnonzero(self.numbers == k)) for k in range(self.n)]


def folds_of(problem_ids: Sequence[str], n: int, seed: int) -> Folds:
    """Divide problems into folds of equal size, in an order that depends on the seed and each problem's id.

    All responses of a problem are in one fold. With fewer than two problems there are no folds.
    """
    order = sorted(set(problem_ids), key=lambda name: (uniform(seed, "confidence folds", name), name))
    n = min(n, len(order)) if len(order) > 1 else 0
    number = {name: index * max(n, 1) // len(order) for index, name in enumerate(order)}
    return Folds(np.array([number[name] for name in problem_ids], dtype=np.int64), n)


def fold_auc(
    scores: Float[Array, "*rows responses"], rewards: Float[Array, " responses"], folds: Folds
) -> Float[Array, "*rows"]:
    """Return the mean over folds of the AUC within each; folds without both classes or scores do not count (none: NaN).

    Within folds, because the scores of different folds come from different fits and need not share a scale.
    """
    each = np.stack(
        [auc(scores[..., held_out], rewards[held_out].astype(int)) for _, held_out in folds.parts()]
        or [np.full(scores.shape[:-1], np.nan)]
    )
    known = np.isfinite(each)
    total = np.where(known, each, 0).sum(0)
    return np.divide(total, known.sum(0), out=np.full(total.shape, np.nan), where=known.any(0))


def out_of_fold(
    fit: Callable[[Tensor, Array], Callable[[Tensor], Array]],
    states: Float[Tensor, "responses d"],
    rewards: Float[Array, " responses"],
    folds: Folds,
) -> Float[Array, " responses"]:
    """Score each response by what `fit` learns from the other folds; NaN where those contain one class only."""
    scores = np.full(len(rewards), np.nan)
    for others, held_out in folds.parts():
        if 0 < rewards[others].sum() < len(others):
            predict = fit(states[torch.from_numpy(others)], rewards[others])
            scores[held_out] = predict(states[torch.from_numpy(held_out)])
    return scores


def some_units(whole: Units, chosen: Int[Array, " chosen"]) -> Units:
    """Select some of the units, in this order."""
    bounds = np.zeros(1, dtype=np.int64)
    layers = {}
    for layer, states in whole.layers.items():
        layers[layer], bounds = take(states, whole.offsets, chosen)
    return Units(layers, bounds, whole.labels[chosen])


def fold_outputs(
    source: ActivationFiles,
    responses: Responses,
    folds: Folds,
    section: ValueProbes,
    ratios: Sequence[float],
    memory_gb: float,
) -> dict[int, Float[Array, "ratios responses"]]:
    """Return outputs of value probes at s_0 of each training response, by probes trained on the other folds.

    Args:
        source: the activation files, opened for the layers to train at.
        responses: the training part.
        folds: their folds.
        section: how probes are trained; its first seed alone, on true rewards.
        ratios: prune ratios at which every probe is evaluated.
        memory_gb: layers are trained in groups that fit, each with a copy of its states.

    Returns:
        Layer -> f(h_0), without floating-point noise, at every ratio; nothing without folds.
    """
    training, seed = training_of(section), section.seeds[0]
    groups = list(layer_groups(source, 2 * number_of_states(source, responses), section, memory_gb)) if folds.n else []
    parts = folds.parts()
    steps = sum(len(groups) * n_batches(len(others), 1, training) for others, _ in parts)
    progress = Progress(steps, "steps", f"value probes of {len(source.layers)} layers in {folds.n} folds")
    scores = {layer: np.empty((len(ratios), len(responses))) for group in groups for layer in group}
    for group in groups:
        whole = training_units(source, responses, group)
        first = torch.from_numpy(whole.offsets[:-1])
        for others, held_out in parts:
            units = some_units(whole, others)
            probes = train(units, specs_of(group, [seed], []), training, value_loss(section), progress)
            for layer in group:
                states = whole.layers[layer][first[torch.from_numpy(held_out)]]
                one = probes.of(layer=layer)
                scores[layer][:, held_out] = round_ties(curve(one, states, ranking(one), ratios)[:, 0])
    return scores
