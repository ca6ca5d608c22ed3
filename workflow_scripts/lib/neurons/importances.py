"""Importances of all inputs of a run's probes, without the probes, for neuron lists and comparisons."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.probes import perceptrons
from workflow_scripts.lib.probes.perceptrons import Spec
from workflow_scripts.lib.storage.identity import run_of

VERSION = ("revision", "fingerprint")
"""Keys on which the probes of one model must agree, because another version of it may have other neurons."""


@dataclass(frozen=True)
class Importances:
    """The probes of one kind (`value` or `dopamine`) of one run.

    `importance` [P, d]: the L1 norm of each input's first-layer weights. `places` [P, d]: each input's place in its
    probe's ranking, 0 for the most important. `metadata`: that of the probe file.
    """

    path: Path
    model: str
    dataset: str
    kind: str
    metadata: dict[str, Any]
    specs: list[Spec]
    importance: Float[np.ndarray, "probes d"]
    places: Int[np.ndarray, "probes d"]

    @property
    def d(self) -> int:
        """Neurons of a layer."""
        return self.importance.shape[1]

    @property
    def layers(self) -> list[int]:
        """Layers that were probed, ascending."""
        return sorted({spec.layer for spec in self.specs})

    @property
    def seeds(self) -> list[int]:
        """The seed of each probe."""
        return [spec.seed for spec in self.specs]

    def of(self, layer: int, labels: str) -> "Importances":
        """Return the probes of one layer and one kind of labels, by seed."""
        by_seed = [(s.seed, i) for i, s in enumerate(self.specs) if s.layer == layer and s.labels == labels]
        keep = [i for _, i in sorted(by_seed)]
        specs, importance, places = [self.specs[i] for i in keep], self.importance[keep], self.places[keep]
        return Importances(self.path, self.model, self.dataset, self.kind, self.metadata, specs, importance, places)


def read(path: Path, kind: str) -> Importances:
    """Read importances from `results/probes/{model}/{dataset}/{kind}.safetensors`.

    Raises:
        UserError: not such a file, one of another run or kind, no probe on true labels, or weights that are not finite.
    """
    model, dataset = run_of(path, "shard")
    stack, metadata = perceptrons.load(path, model=model, dataset=dataset, kind=kind)
    importance = perceptrons.importance(stack).numpy()
    if not stack.specs or {s.layer for s in stack.specs} != {s.layer for s in stack.specs if s.labels == "true"}:
        raise UserError(f"{path}: a layer has no probe on true labels; delete it and run again")
    if not np.isfinite(importance).all():
        spec = stack.specs[int(np.flatnonzero(~np.isfinite(importance).all(1))[0])]
        raise UserError(
            f"{path}: layer {spec.layer}, seed {spec.seed} has weights that are not finite: training diverged; "
            f"lower {kind}_probes.learning_rate"
        )
    places = np.argsort(perceptrons.ranking(stack).numpy(), axis=1)
    return Importances(path, model, dataset, kind, metadata, stack.specs, importance.astype(float), places)


def check_versions(runs: Iterable[Importances]) -> None:
    """Refuse probes of two versions of one model.

    Raises:
        UserError: two files name the same model with another revision or other weights, or another width.
    """
    first: dict[str, Importances] = {}
    for run in runs:
        other = first.setdefault(run.model, run)
        if any(run.metadata.get(key) != other.metadata.get(key) for key in VERSION) or run.d != other.d:
            raise UserError(
                f"{run.path}: another version of {run.model} than in {other.path}; delete the older file and run again"
            )


def mean_importances(
    path: Path, kind: str, layers: Sequence[int], **identity: Any
) -> dict[int, Float[np.ndarray, " d"]]:
    """Return layer -> importance of its neurons, averaged over the probes trained on true labels.

    Raises:
        UserError: not the probes of this kind (model, data set), or none of a layer.
    """
    stack, _ = perceptrons.load(path, kind=kind, **identity)
    by_layer = {}
    for layer in layers:
        probes = stack.of(layer=layer, labels="true")
        if not probes.specs:
            raise UserError(f"{path}: lacks probes of layer {layer}; add it to activations.layers and run again")
        by_layer[layer] = perceptrons.importance(probes).double().mean(0).numpy()
    return by_layer
