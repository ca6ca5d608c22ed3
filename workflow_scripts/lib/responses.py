"""Which responses belong to which part of the split, and their states and rewards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_scripts.lib.activations import read_layer
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.identity import KEYS
from workflow_scripts.lib.tables import check_once, read_parquet
from workflow_scripts.lib.tensors import read_metadata


@dataclass(frozen=True)
class Responses:
    """Responses of one part of the split, sorted by problem and sample, whatever shards they came from.

    `problem_ids` [R]; `rewards` float64 [R], 0 or 1; `places` int64 [R]: their rows in the activation files, read in
    order.
    """

    problem_ids: list[str]
    rewards: Float[np.ndarray, " responses"]
    places: Int[np.ndarray, " responses"]

    def __len__(self) -> int:
        """Number of responses."""
        return len(self.problem_ids)


@dataclass(frozen=True)
class Source:
    """Activation files of one run: their paths, what they say of themselves, and the rows they hold."""

    paths: Sequence[Path]
    metadata: dict[str, Any]
    rows: list[tuple[str, int, int]]

    @property
    def layers(self) -> list[int]:
        """The layers that are stored."""
        return self.metadata["layers"]

    def states(self, layer: int) -> tuple[Float[Tensor, "states d"], Int[np.ndarray, " bounds"]]:
        """All states of a layer and the offsets of the responses in them."""
        read = read_layer(self.paths, layer, expect=self.identity)
        return read.layers[layer], read.offsets.numpy()

    @property
    def identity(self) -> dict[str, Any]:
        """What the files must agree on."""
        return {key: self.metadata[key] for key in KEYS}


def open_activations(paths: Sequence[Path], layers: Sequence[int] | None = None) -> Source:
    """Look into the activation files of one run, as if they held no layers but the given ones (default: all they hold).

    Raises:
        UserError: a file is unreadable, or they hold no layer, or lack one of those given.
    """
    metadata = read_metadata(paths[0])
    if not metadata.get("layers"):
        raise UserError(f"{paths[0]}: holds no layers; set activations.layers and run again")
    wanted = metadata["layers"] if layers is None else sorted(set(layers))
    if lacking := sorted(set(wanted) - set(metadata["layers"])):
        found = f"holds layers {metadata['layers']}, not {lacking[0]}"
        raise UserError(f"{paths[0]}: {found}; add it to activations.layers")
    return Source(paths, metadata | {"layers": wanted}, read_layer(paths, wanted[0]).rows)


def split_of(problems: Path | Sequence[Path]) -> dict[str, str]:
    """Problem id -> `train` or `validation`."""
    frame = read_parquet(problems)
    return dict(zip(frame["problem_id"].to_list(), frame["split"].to_list(), strict=True))


def rewards_of(rollouts: Sequence[Path]) -> dict[tuple[str, int], float]:
    """(problem id, sample) -> reward."""
    frame = read_parquet(rollouts).select("problem_id", "sample", "reward")
    check_once(frame, ["problem_id", "sample"], f"{Path(rollouts[0]).parent}")
    return {(problem_id, sample): float(reward) for problem_id, sample, reward in frame.iter_rows()}


def select_responses(
    source: Source, split: Mapping[str, str], rewards: Mapping[tuple[str, int], float], part: str
) -> Responses:
    """The responses of one part of the split.

    Raises:
        UserError: a stored response has no problem or no reward, or one with a reward is not stored.
    """
    found = []
    for place, (problem_id, sample, _) in enumerate(source.rows):
        if problem_id not in split or (problem_id, sample) not in rewards:
            where = f"{source.paths[0].parent}: response {problem_id}, sample {sample}"
            raise UserError(f"{where}: not among the problems and rollouts given; delete the activations and run again")
        if split[problem_id] == part:
            found.append((problem_id, sample, place))
    if lacking := sorted(rewards.keys() - {(problem_id, sample) for problem_id, sample, _ in source.rows}):
        where = f"{source.paths[0].parent}: response {lacking[0][0]}, sample {lacking[0][1]}"
        raise UserError(f"{where}: has no states; delete the activations and run again")
    found.sort()
    return Responses(
        [problem_id for problem_id, _, _ in found],
        np.array([rewards[problem_id, sample] for problem_id, sample, _ in found], dtype=float),
        np.array([place for _, _, place in found], dtype=np.int64),
    )


def take(
    states: Float[Tensor, "states d"], offsets: Int[np.ndarray, " bounds"], places: Int[np.ndarray, " responses"]
) -> tuple[Float[Tensor, "taken d"], Int[np.ndarray, " taken_bounds"]]:
    """The states of the chosen responses, one after the other, and their offsets."""
    counts = np.diff(offsets)[places]
    bounds = np.concatenate([[0], np.cumsum(counts)])
    rows = np.arange(bounds[-1]) + np.repeat(offsets[places] - bounds[:-1], counts)
    return states.index_select(0, torch.from_numpy(rows)), bounds
