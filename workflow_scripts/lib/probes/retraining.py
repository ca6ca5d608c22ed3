"""Train probes again on the inputs that a pruned probe keeps (method, section 4)."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.config.sections import DopamineProbes, Pruning, ValueProbes
from workflow_scripts.lib.models.activation_files import ActivationFiles
from workflow_scripts.lib.probes.data import Paragraphs, Responses, end_states, number_of_states, training_units
from workflow_scripts.lib.probes.perceptrons import Probes, outputs, ranking
from workflow_scripts.lib.probes.pruning import kept_inputs
from workflow_scripts.lib.probes.trainer import layer_groups, squared_error, training_of, value_loss
from workflow_scripts.lib.probes.training import Loss, Training, Units, n_batches, train
from workflow_scripts.lib.progress import Progress

Scores = Float[np.ndarray, "ratios seeds n"]


def retrained_dopamine_scores(
    parts: tuple[Paragraphs, Paragraphs], probes: Probes, config: dict[str, Any], pruning: Pruning
) -> dict[int, Scores]:
    """Return, by layer, f(h) on held-out paragraphs of probes trained again on what each on true TD errors keeps."""
    section = DopamineProbes(config)
    training, true = training_of(section), probes.of(labels="true")
    steps = len(pruning.ratios) * n_batches(len(parts[0].delta), len(section.seeds), training)
    progress = Progress(steps, "steps", "dopamine probes retrained on what is kept")
    units, held_out = parts[0].units, parts[1].layers
    again = [
        retrained_outputs(true, ratio, units, held_out, training, squared_error, progress) for ratio in pruning.ratios
    ]
    return by_layer(true, np.stack(again))


def retrained_value_scores(
    source: ActivationFiles,
    parts: tuple[Responses, Responses],
    probes: Probes,
    config: dict[str, Any],
    pruning: Pruning,
    memory_gb: float,
) -> Iterator[tuple[int, Scores]]:
    """Yield each layer with f(h), first at s_0 and then at s_T, of probes trained again on what each on rewards keeps.

    Layers are trained in groups that fit into memory; `n` counts held-out responses twice.
    """
    section = ValueProbes(config)
    training, true = training_of(section), probes.of(labels="true")
    groups = list(layer_groups(source, 2 * number_of_states(source, parts[0]), section, memory_gb))
    steps = len(groups) * len(pruning.ratios) * n_batches(len(parts[0]), len(section.seeds), training)
    progress = Progress(steps, "steps", "value probes retrained on what is kept")
    loss = value_loss(section)
    for layers in groups:
        units = training_units(source, parts[0], layers)
        held_out = {layer: torch.cat(end_states(source, parts[1], layer)) for layer in layers}
        group = true.select([i for i, spec in enumerate(true.specs) if spec.layer in layers])
        again = [retrained_outputs(group, ratio, units, held_out, training, loss, progress) for ratio in pruning.ratios]
        yield from by_layer(group, np.stack(again)).items()


def by_layer(probes: Probes, scores: Float[np.ndarray, "ratios probes n"]) -> dict[int, Scores]:
    """Return the scores of each layer's probes."""
    layers = np.array([spec.layer for spec in probes.specs])
    return {int(layer): scores[:, layers == layer] for layer in dict.fromkeys(layers)}


def retrained_outputs(
    probes: Probes,
    ratio: float,
    units: Units,
    held_out: dict[int, Float[Tensor, "n d"]],
    training: Training,
    loss: Loss,
    progress: Progress,
) -> Float[np.ndarray, "probes n"]:
    """Return f(h) on held-out states of new probes, trained only on the inputs that each of the given probes keeps.

    Seeds and settings are those of the original probe; at prune ratio 0 the new probe is the original one.
    """
    kept = [kept_inputs(order, ratio) for order in ranking(probes)]
    predicted = np.empty((len(probes.specs), len(next(iter(held_out.values())))), dtype=np.float32)
    for seed in dict.fromkeys(spec.seed for spec in probes.specs):
        places = {spec.layer: i for i, spec in enumerate(probes.specs) if spec.seed == seed}
        inputs = {layer: units.layers[layer][:, kept[i]] for layer, i in places.items()}
        specs = [probes.specs[i] for i in places.values()]
        trained = train(Units(inputs, units.offsets, units.labels), specs, training, loss, progress)
        for place, (layer, i) in enumerate(places.items()):
            predicted[i] = outputs(trained.select([place]), held_out[layer][:, kept[i]])[0].numpy()
    return predicted
