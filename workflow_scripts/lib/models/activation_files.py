"""The file format of hidden states, and a reader that checks which run a file belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.storage.identity import KEYS, require
from workflow_scripts.lib.storage.tensors import (
    decode_rows,
    encode_rows,
    read_metadata,
    read_safetensors,
    write_safetensors,
)

FORMAT = "activations-1"
IDENTITY = (*KEYS, "dtype")


def write_activations(states: States, metadata: Mapping[str, Any], path: str | Path) -> None:
    """Write states with `metadata`: model, revision, fingerprint, dataset, shard, dtype, n_layers."""
    tensors = {f"layer_{layer}": tensor for layer, tensor in states.layers.items()}
    tensors |= {"rows": encode_rows([list(row) for row in states.rows]), "offsets": states.offsets}
    width = next((tensor.shape[1] for tensor in states.layers.values()), 0)
    content = {"format": FORMAT, "layers": sorted(states.layers), "d": width}
    write_safetensors(tensors, content | dict(metadata), path)


def read_layer(paths: Sequence[str | Path], layer: int, expect: Mapping[str, Any] | None = None) -> States:
    """Read one layer of several shards, joined in the order given; other layers are not read.

    `expect` gives values that the files' metadata must have (any of model, revision, fingerprint, dataset, dtype). All
    files must also have the same values of these.

    Raises:
        UserError: a file is unreadable, of another format, model, data set or number format, or lacks the layer.
    """
    rows: list[tuple[str, int, int]] = []
    counts, parts = [], []
    first: dict[str, Any] | None = None
    for path in paths:
        _, metadata = read_safetensors(path, names=[])
        _check(path, metadata, layer, dict(expect or {}))
        if first is not None:
            _check(path, metadata, layer, {key: first.get(key) for key in IDENTITY})
        first = first or metadata
        tensors, _ = read_safetensors(path, names=["rows", "offsets", f"layer_{layer}"])
        rows.extend((row[0], row[1], row[2]) for row in decode_rows(tensors["rows"]))
        counts.append(tensors["offsets"].diff())
        parts.append(tensors[f"layer_{layer}"])
    if len({row[:2] for row in rows}) < len(rows):
        twice = next(row for row in sorted(rows) if sum(row[:2] == other[:2] for other in rows) > 1)
        where = f"{Path(paths[0]).parent}: problem_id {twice[0]}, sample {twice[1]} occurs twice"
        raise UserError(f"{where}; delete the shards that contain it and run again")
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), torch.cat(counts).cumsum(0)])
    return States(rows, offsets, {layer: torch.cat(parts)})


def _check(path: str | Path, metadata: Mapping[str, Any], layer: int, expect: Mapping[str, Any]) -> None:
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: not a file of activations in format {FORMAT}; delete it and run again")
    require(path, metadata, expect)
    if layer not in metadata["layers"]:
        raise UserError(f"{path}: contains layers {metadata['layers']}, not {layer}; add it to activations.layers")


@dataclass(frozen=True)
class ActivationFiles:
    """Activation files of one run: their paths, their metadata, and the rows they contain."""

    paths: Sequence[Path]
    metadata: dict[str, Any]
    rows: list[tuple[str, int, int]]

    @property
    def layers(self) -> list[int]:
        """The stored layers."""
        return self.metadata["layers"]

    def states(self, layer: int) -> tuple[Float[Tensor, "states d"], Int[np.ndarray, " bounds"]]:
        """Read all states of a layer and the offsets of the responses in them."""
        read = read_layer(self.paths, layer, expect=self.identity)
        return read.layers[layer], read.offsets.numpy()

    @property
    def identity(self) -> dict[str, Any]:
        """The metadata that all files share."""
        return {key: self.metadata[key] for key in KEYS}


def open_activations(paths: Sequence[Path], layers: Sequence[int] | None = None) -> ActivationFiles:
    """Open the activation files of one run, as if they contained only the given layers (default: all stored layers).

    Raises:
        UserError: a file is unreadable, or contains no layer, or lacks a given layer.
    """
    metadata = read_metadata(paths[0])
    if not metadata.get("layers"):
        raise UserError(f"{paths[0]}: contains no layers; set activations.layers and run again")
    chosen = metadata["layers"] if layers is None else sorted(set(layers))
    if lacking := sorted(set(chosen) - set(metadata["layers"])):
        stored = f"contains layers {metadata['layers']}, not {lacking[0]}"
        raise UserError(f"{paths[0]}: {stored}; add it to activations.layers")
    return ActivationFiles(paths, metadata | {"layers": chosen}, read_layer(paths, chosen[0]).rows)
