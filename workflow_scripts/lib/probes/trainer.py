"""Value and dopamine probes of one run: from configuration and files to training data, losses and layer groups."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workflow_scripts.lib.config.sections import DopamineProbes, ValueProbes
from workflow_scripts.lib.models.activation_files import ActivationFiles
from workflow_scripts.lib.probes import targets
from workflow_scripts.lib.probes.data import Responses, number_of_states, training_units
from workflow_scripts.lib.probes.perceptrons import Probes, Spec, concatenate, load, save, specs_of
from workflow_scripts.lib.probes.training import Loss, Training, Units, n_batches, train
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.runtime.reuse import Reuse, digest, environment

MEMORY_GB = 4.0
"""Default limit of the memory that training data and probes take."""


def training_of(section: ValueProbes | DopamineProbes) -> Training:
    """Return the optimiser's part of a section."""
    names = ("hidden", "epochs", "batch_size", "learning_rate", "weight_decay", "input_scaling")
    return Training(**{name: getattr(section, name) for name in names})


def value_loss(section: ValueProbes) -> Loss:
    """Return the configured loss of V(h) = sigmoid(f(h)) (method, section 3)."""
    target = targets.Target(section.target, section.td_gradient, section.td_lambda, section.gamma)
    return lambda f, rewards, last: targets.loss(f.sigmoid(), rewards, last, target)


def squared_error(
    f: Float[Tensor, "probes units"], labels: Float[Tensor, "probes units"], last: Bool[Tensor, " units"]
) -> Float[Tensor, " probes"]:
    """Return the dopamine probe's loss: mean squared error of f itself (method, section 5)."""
    return (f - labels).square().mean(1)


def layer_groups(source: ActivationFiles, n_states: int, section: ValueProbes, memory_gb: float) -> Iterator[list[int]]:
    """Yield groups of layers whose training states fit into memory together, at least one layer at a time.

    Counted: reading one layer (twice its size while shards are joined), the chosen states of the group, the group's
    probes with gradients and moments, and the finished probes of all layers. What is trained does not depend on it.
    """
    layers, d = source.layers, source.metadata["d"]
    width = torch.finfo(getattr(torch, source.metadata["dtype"])).bits // 8
    each = (len(section.seeds) + len(section.shuffled_seeds)) * section.hidden * d * 4
    reading = 2 * width * d * sum(length + 1 for _, _, length in source.rows)
    left = memory_gb * 1e9 - reading - each * len(layers)
    size = max(1, int(left // (width * d * n_states + 4 * each)))
    for first in range(0, len(layers), size):
        yield layers[first : first + size]


class Trainer:
    """Trains the probes of one file, except those that an earlier run of the same rule has trained already.

    A probe's origin covers everything that decides its weights: code, versions, settings, the states and labels it is
    trained on, its layer, seed and kind of labels. Those of an earlier file with the same origin are the same to the
    last bit.
    """

    def __init__(self, rule: str, config: dict[str, Any], loss: Loss, training: Training, path: Path) -> None:
        """Prepare training; `config` is the section as it is used, `path` the file that the probes will be saved to."""
        settings = {key: value for key, value in config.items() if key not in ("seeds", "shuffled_seeds")}
        target = frozenset({config["target"]} if "target" in config else ())
        self.common = digest(environment(rule, used=(("targets", target),)), settings)
        self.loss, self.training, self.path = loss, training, path
        self.origins: list[str] = []
        self.reuse = Reuse([path], probes_by_origin)

    def train(self, units: Units, specs: Sequence[Spec], progress: Progress) -> Probes:
        """Return the probes of `specs` in their order, reused or trained on `units`."""
        data = digest(units.offsets, units.labels)
        states = {layer: digest(tensor) for layer, tensor in units.layers.items()}
        origins = [digest(self.common, data, states[spec.layer], asdict(spec)) for spec in specs]
        kept = [self.reuse.get(origin) for origin in origins]
        reused = [i for i, probe in enumerate(kept) if probe is not None]
        missing = [i for i, probe in enumerate(kept) if probe is None]
        parts = [probe for probe in kept if probe is not None]
        new = [specs[i] for i in missing]
        seeds_of = (len({spec.seed for spec in part}) for part in (specs, new))
        planned, left = (n_batches(len(units.labels), seeds, self.training) for seeds in seeds_of)
        if new:
            layers = {spec.layer: units.layers[spec.layer] for spec in new}
            parts.append(train(replace(units, layers=layers), new, self.training, self.loss, progress))
        progress.advance(planned - left)
        self.origins += origins
        return concatenate(parts).select(np.argsort([*reused, *missing]).tolist())

    def save(self, probes: Probes, metadata: dict[str, Any]) -> None:
        """Write the probes with their origins, and keep them for a later run."""
        save(probes, {**metadata, "origins": self.origins}, self.path)
        self.reuse.report("probes")
        self.reuse.keep()


def probes_by_origin(path: Path) -> dict[str, Probes]:
    """Return the probes of a file, each by its origin."""
    probes, metadata = load(path)
    return {origin: probes.select([i]) for i, origin in enumerate(metadata["origins"])}


def changed_section(raw: dict[str, Any], target: str | None, true_labels_only: bool) -> dict[str, Any]:
    """Return section `value_probes` with the changes that the command line makes."""
    changes: dict[str, Any] = {} if target is None else {"target": target}
    return raw | changes | ({"shuffled_seeds": []} if true_labels_only else {})


def train_groups(
    source: ActivationFiles, responses: Responses, section: ValueProbes, trainer: Trainer, memory_gb: float
) -> Probes:
    """Train the probes of all layers of `source`, group by group of layers."""
    groups = list(layer_groups(source, number_of_states(source, responses), section, memory_gb))
    n_seeds = len({*section.seeds, *section.shuffled_seeds})
    steps = len(groups) * n_batches(len(responses), n_seeds, trainer.training)
    progress = Progress(steps, "steps", f"value probes of {len(source.layers)} layers, {len(responses)} responses")
    parts = []
    for layers in groups:
        specs = specs_of(layers, section.seeds, section.shuffled_seeds)
        units = training_units(source, responses, layers, targets.CATALOGUE[section.target].last_only)
        parts.append(trainer.train(units, specs, progress))
    return concatenate(parts)
