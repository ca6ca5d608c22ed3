"""A file that was cut off or changed in a single bit is refused in one line; so is one without a checksum."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.storage.tables import read_about, read_parquet, write_parquet
from workflow_scripts.lib.storage.tensors import read_metadata, read_safetensors, write_safetensors

FRAME = pl.DataFrame({"problem_id": ["a", "b"], "reward": [0, 1], "response_ids": [[1, 2], []]})
TENSORS = {
    "layer_1": torch.arange(6, dtype=torch.bfloat16).reshape(3, 2),
    "offsets": torch.tensor([0, 3]),
    "nothing": torch.zeros(0, 2),
    "one": torch.tensor(1.0),
}


def write_table(path: Path) -> Callable[[Path], Any]:
    write_parquet(FRAME, path, {"model": '"m"'})
    return lambda file: read_parquet(file).to_dicts()


def write_tensors(path: Path) -> Callable[[Path], Any]:
    write_safetensors(TENSORS, {"model": "m"}, path)
    return lambda file: ({name: one.tolist() for name, one in read_safetensors(file)[0].items()}, read_metadata(file))


@pytest.mark.parametrize(("kind", "write"), [("Parquet", write_table), ("safetensors", write_tensors)])
def test_no_flipped_bit_and_no_cut_passes(tmp_path: Path, kind: str, write: Callable[[Path], Any]) -> None:
    path, changed = tmp_path / "whole", tmp_path / "changed"
    read = write(path)
    read(path)
    raw, chance = path.read_bytes(), random.Random(0)
    damaged = [raw[:length] for length in range(0, len(raw), 7)]
    for place in range(len(raw)):
        flipped = bytearray(raw)
        flipped[place] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    said = f"^{changed}: not a readable {kind} file \\(.*\\); delete it and run again$"
    for content in [*damaged, raw + b"\0"]:
        changed.write_bytes(content)
        with pytest.raises(UserError, match=said):
            read(changed)


def test_one_layer_is_read_though_another_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors({"layer_1": torch.zeros(2), "layer_2": torch.full((2,), 7.0)}, {}, path)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(torch.full((2,), 7.0).numpy().tobytes(), torch.full((2,), 8.0).numpy().tobytes()))
    assert read_safetensors(path, ["layer_1"])[0]["layer_1"].tolist() == [0, 0]
    with pytest.raises(UserError, match="tensor layer_2 is damaged"):
        read_safetensors(path)


def test_a_file_of_somebody_else_has_no_checksum_and_only_tables_made_by_hand_are_read(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "table.parquet")
    with pytest.raises(UserError, match=r"table\.parquet: .* \(has no checksum\); delete it and run again"):
        read_parquet(tmp_path / "table.parquet")
    assert read_parquet(tmp_path / "table.parquet", by_hand=True).equals(FRAME)
    assert read_about(tmp_path / "table.parquet", ["model"], by_hand=True) == {}
    with pytest.raises(UserError, match=r"gone\.parquet: not a readable Parquet file"):
        read_parquet(tmp_path / "gone.parquet")


def test_metadata_come_back(tmp_path: Path) -> None:
    write_table(tmp_path / "a")
    write_tensors(tmp_path / "b")
    assert read_about(tmp_path / "a", ["model", "dataset"]) == {"model": "m"} == read_metadata(tmp_path / "b")
