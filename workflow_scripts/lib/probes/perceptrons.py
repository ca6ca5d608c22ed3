"""Probes: two-layer perceptrons f(h) = w2 . relu(W1 (h - mean) / scale + b1) + b2, many stacked in one set of tensors.

The input scaling is part of the probe: saved with it, applied when it is used. Method, sections 3 to 5.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.storage.identity import require
from workflow_scripts.lib.storage.tensors import read_safetensors, write_safetensors

LABELS = ("true", "shuffled")
PARAMETERS = ("w1", "b1", "w2", "b2")


@dataclass(frozen=True)
class Spec:
    """Identity of a probe: the layer it reads, the seed of its first weights and batch order, its training labels."""

    layer: int
    seed: int
    labels: str


@dataclass(frozen=True)
class Probes:
    """P probes. `w1` [P, H, d], `b1` [P, H], `w2` [P, H], `b2` [P], `mean` and `scale` [P, d], all float32."""

    specs: list[Spec]
    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    mean: Tensor
    scale: Tensor

    def select(self, indices: Sequence[int]) -> "Probes":
        """Return the probes at these indices, in this order."""
        index = torch.tensor(list(indices), dtype=torch.int64)
        tensors = {name: getattr(self, name)[index] for name in (*PARAMETERS, "mean", "scale")}
        return Probes([self.specs[i] for i in indices], **tensors)

    def of(self, layer: int | None = None, seed: int | None = None, labels: str | None = None) -> "Probes":
        """Return the probes of one layer, one seed, one kind of labels; None matches all."""
        criteria = (("layer", layer), ("seed", seed), ("labels", labels))
        keep = [
            i
            for i, spec in enumerate(self.specs)
            if all(value is None or getattr(spec, name) == value for name, value in criteria)
        ]
        return self.select(keep)


def specs_of(layers: Sequence[int], seeds: Sequence[int], shuffled_seeds: Sequence[int]) -> list[Spec]:
    """List every probe of a run: per layer, the seeds on true labels, then those on shuffled labels."""
    kinds = [*((seed, "true") for seed in seeds), *((seed, "shuffled") for seed in shuffled_seeds)]
    return [Spec(layer, seed, labels) for layer in layers for seed, labels in kinds]


def initial_weights(seed: int, d: int, hidden: int, n: int) -> dict[str, Tensor]:
    """Draw first weights of n probes that share a seed: uniform in +-1/sqrt(inputs), biases too, as in torch's Linear.

    They depend on the seed (and the sizes) alone: all layers of a seed start alike, no probe depends on its neighbours.
    """
    stream = generator("probe weights", seed)

    def draw(*shape: int, inputs: int) -> Tensor:
        bound = 1 / math.sqrt(inputs)
        one = torch.from_numpy(stream.uniform(-bound, bound, shape).astype(np.float32))
        return one.expand(n, *shape).clone()

    w1, b1 = draw(hidden, d, inputs=d), draw(hidden, inputs=d)
    w2, b2 = draw(hidden, inputs=hidden), draw(1, inputs=hidden)[:, 0].clone()
    return {"w1": w1, "b1": b1, "w2": w2, "b2": b2}


def shuffle(labels: Float[np.ndarray, " units"], seed: int) -> Float[np.ndarray, " units"]:
    """Permute the labels of the training part by the seed's own permutation."""
    return labels[generator("shuffled labels", seed).permutation(len(labels))]


def concatenate(parts: Sequence[Probes]) -> Probes:
    """Join several stacks into one."""
    tensors = {name: torch.cat([getattr(part, name) for part in parts]) for name in (*PARAMETERS, "mean", "scale")}
    return Probes([spec for part in parts for spec in part.specs], **tensors)


def scaled(probes: Probes, states: Float[Tensor, "states d"]) -> Float[Tensor, "probes states d"]:
    """Scale states as each probe sees them."""
    return (states.float()[None] - probes.mean[:, None]) / probes.scale[:, None]


def outputs(probes: Probes, states: Float[Tensor, "states d"]) -> Float[Tensor, "probes states"]:
    """Return f(h) of each probe at each state; a value probe's V(h) is its sigmoid."""
    hidden = torch.baddbmm(probes.b1[:, None], scaled(probes, states), probes.w1.transpose(1, 2)).relu_()
    return torch.einsum("pbh,ph->pb", hidden, probes.w2) + probes.b2[:, None]


def input_importance(w1: Float[Tensor, "*probes hidden d"]) -> Float[Tensor, "*probes d"]:
    """Return the L1 norm of first-layer weights from each (scaled) input: sum_j |W1[j, i]| (method, section 4)."""
    return w1.abs().sum(-2)


def importance(probes: Probes) -> Float[Tensor, "probes d"]:
    """Return the importance of every input of each probe."""
    return input_importance(probes.w1)


def ranking(probes: Probes) -> Int[Tensor, "probes d"]:
    """Rank inputs from the most to the least important; equal ones in the order of their index."""
    return importance(probes).sort(dim=1, descending=True, stable=True).indices


def save(probes: Probes, metadata: dict[str, Any], path: str | Path) -> None:
    """Write the stack; the metadata gain `probes`, the list of layer, seed and labels in the order of the stack."""
    tensors = {name: getattr(probes, name) for name in (*PARAMETERS, "mean", "scale")}
    write_safetensors(tensors, {**metadata, "probes": [asdict(spec) for spec in probes.specs]}, path)


def load(path: str | Path, **expect: Any) -> tuple[Probes, dict[str, Any]]:
    """Read a stack and its metadata.

    Args:
        path: file written by `save`.
        expect: metadata that the file must have, for instance `model="grpo"`.

    Raises:
        UserError: not a probe file, or one of another model, data set or kind.
    """
    tensors, metadata = read_safetensors(path)
    if "probes" not in metadata or set(tensors) != {*PARAMETERS, "mean", "scale"}:
        raise UserError(f"{path}: not a file of probes; delete it and run again")
    require(path, metadata, expect)
    return Probes([Spec(**spec) for spec in metadata["probes"]], **tensors), metadata
