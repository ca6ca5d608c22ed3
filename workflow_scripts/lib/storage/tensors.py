"""Tensors on disk: safetensors with string metadata, written whole or not at all.

The header contains a checksum of itself and of every tensor, so that one layer is checked without reading the others.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from workflow_scripts.lib.errors import UserError, one_line
from workflow_scripts.lib.storage.checksums import PLACEHOLDER, digest, fill, intact
from workflow_scripts.lib.storage.files import atomic_path


def write_safetensors(tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any], path: str | Path) -> None:
    """Write tensors with metadata; every metadata value is stored as JSON."""
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    sums = {name: checksum(tensor) for name, tensor in stored.items()}
    encoded = {key: json.dumps(value, sort_keys=True) for key, value in {**metadata, "checksums": sums}.items()}
    with atomic_path(path) as temporary:
        save_file(stored, temporary, metadata=encoded | {"checksum": PLACEHOLDER})
        fill(temporary, header_length(temporary))


def read_safetensors(
    path: str | Path, names: list[str] | None = None
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read the named tensors (all by default) and the decoded metadata.

    Raises:
        UserError: the file is missing, damaged or cut off, was not written by the project, or lacks a named tensor.
    """
    try:
        if not (whole := intact(path, header_length(path))):
            raise OSError("has no checksum" if whole is None else "damaged or cut off")
        with safe_open(path, framework="pt") as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            tensors = {name: file.get_tensor(name) for name in (file.keys() if names is None else names)}
        del metadata["checksum"]
        sums = metadata.pop("checksums")
        if damaged := [name for name, tensor in tensors.items() if checksum(tensor) != sums[name]]:
            raise OSError(f"tensor {damaged[0]} is damaged")
    except (OSError, OverflowError, SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        reason = one_line(error)
        raise UserError(f"{path}: not a readable safetensors file ({reason}); delete it and run again") from error
    return tensors, metadata


def checksum(tensor: torch.Tensor) -> str:
    """Return the checksum of a tensor's bytes."""
    return digest(tensor.reshape(-1).view(torch.uint8).numpy())


def header_length(path: str | Path) -> int:
    """Return the length of a file's header in bytes, with the eight that state its length."""
    with open(path, "rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Read the decoded metadata only, no tensor.

    Raises:
        UserError: the file is missing or cut off.
    """
    return read_safetensors(path, names=[])[1]


def encode_rows(rows: list[list[Any]]) -> torch.Tensor:
    """Encode row ids as a byte tensor (UTF-8 JSON), so that they are in the same file as the rows they name."""
    return torch.frombuffer(bytearray(json.dumps(rows).encode()), dtype=torch.uint8)


def decode_rows(tensor: torch.Tensor) -> list[list[Any]]:
    """Decode what `encode_rows` encoded."""
    return json.loads(bytes(tensor.tolist()).decode())
