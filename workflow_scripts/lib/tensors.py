"""Tensors on disk: safetensors with string metadata, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import atomic_path


def write_safetensors(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any], path: str | Path) -> None:
    """Write tensors with metadata; every metadata value is stored as JSON."""
    encoded = {key: json.dumps(value, sort_keys=True) for key, value in metadata.items()}
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, metadata=encoded)


def read_safetensors(
    path: str | Path, names: list[str] | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read the named tensors (all by default) and the decoded metadata.

    Raises:
        UserError: the file is missing, cut off, or lacks a named tensor.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            wanted = list(file.keys()) if names is None else names
            return {name: file.get_tensor(name) for name in wanted}, metadata
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: not a readable safetensors file ({error}); delete it and run again") from error


def read_metadata(path: str | Path) -> dict[str, Any]:
    """The decoded metadata alone; no tensor is read.

    Raises:
        UserError: the file is missing or cut off.
    """
    return read_safetensors(path, names=[])[1]


def encode_rows(rows: list[list[Any]]) -> torch.Tensor:
    """Row ids as a byte tensor (UTF-8 JSON), so that they live inside the file beside the rows they name."""
    return torch.frombuffer(bytearray(json.dumps(rows).encode()), dtype=torch.uint8)


def decode_rows(tensor: torch.Tensor) -> list[list[Any]]:
    """The inverse of `encode_rows`."""
    return json.loads(bytes(tensor.tolist()).decode())
