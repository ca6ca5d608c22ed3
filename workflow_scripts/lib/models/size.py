"""The memory that a model's weights take, as far as it is known without a network."""

from pathlib import Path
from typing import Any

WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number."""


def weights_mb(entry: dict[str, Any]) -> int:
    """Return the megabytes (10^6 bytes) of the weights of an entry of `models`, in its number format.

    A folder stores them in two bytes each or more. A hub model without a `size` counts as nothing.
    """
    width = WIDTHS[entry["dtype"]]
    if Path(entry["path"]).is_dir():
        stored = sum(file.stat().st_size for file in Path(entry["path"]).glob("*.safetensors"))
        return int(stored * width / 2 / 1e6)
    return int((entry.get("size") or {"parameters": 0})["parameters"] * width / 1e6)
