"""Training and validation data of probes: responses by split, their states and rewards, kept paragraphs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import ActivationFiles
from workflow_scripts.lib.probes.training import Units
from workflow_scripts.lib.storage.identity import KEYS, same_run
from workflow_scripts.lib.storage.tables import check_once, read_parquet
from workflow_scripts.lib.storage.tensors import decode_rows, read_safetensors


@dataclass(frozen=True)
class Responses:
    """Responses of one part of the split, sorted by problem and sample, whatever shards they came from.

    `problem_ids` and `samples` [R]; `rewards` float64 [R], 0 or 1; `rows` int64 [R]: their rows in the activation
    files, read in order.
    """

    problem_ids: list[str]
    samples: list[int]
    rewards: Float[np.ndarray, " responses"]
    rows: Int[np.ndarray, " responses"]

    def __len__(self) -> int:
        """Return the number of responses."""
        return len(self.problem_ids)


def split_of(problems: Path | Sequence[Path]) -> dict[str, str]:
    """Return the part of the split of each problem: problem id -> `train` or `validation`."""
    frame = read_parquet(problems)
    return dict(zip(frame["problem_id"].to_list(), frame["split"].to_list(), strict=True))


def rewards_of(rollouts: Sequence[Path]) -> dict[tuple[str, int], float]:
    """Return the reward of each response: (problem id, sample) -> reward."""
    frame = read_parquet(rollouts).select("problem_id", "sample", "reward")
    check_once(frame, ["problem_id", "sample"], f"{Path(rollouts[0]).parent}")
    return {(problem_id, sample): float(reward) for problem_id, sample, reward in frame.iter_rows()}


def select_responses(
    source: ActivationFiles, split: Mapping[str, str], rewards: Mapping[tuple[str, int], float], part: str
) -> Responses:
    """Return the responses of one part of the split.

    Raises:
        UserError: a stored response has no problem or no reward, or one with a reward is not stored.
    """
    selected = []
    for row, (problem_id, sample, _) in enumerate(source.rows):
        if problem_id not in split or (problem_id, sample) not in rewards:
            where = f"{source.paths[0].parent}: response {problem_id}, sample {sample}"
            raise UserError(f"{where}: not among the problems and rollouts given; delete the activations and run again")
        if split[problem_id] == part:
            selected.append((problem_id, sample, row))
    if missing := sorted(rewards.keys() - {(problem_id, sample) for problem_id, sample, _ in source.rows}):
        where = f"{source.paths[0].parent}: response {missing[0][0]}, sample {missing[0][1]}"
        raise UserError(f"{where}: has no states; delete the activations and run again")
    selected.sort()
    return Responses(
        [problem_id for problem_id, _, _ in selected],
        [sample for _, sample, _ in selected],
        np.array([rewards[problem_id, sample] for problem_id, sample, _ in selected], dtype=float),
        np.array([row for _, _, row in selected], dtype=np.int64),
    )


def take(
    states: Float[Tensor, "states d"], offsets: Int[np.ndarray, " bounds"], rows: Int[np.ndarray, " responses"]
) -> tuple[Float[Tensor, "taken d"], Int[np.ndarray, " taken_bounds"]]:
    """Return the states of the chosen responses (`rows`), one after the other, and their offsets."""
    counts = np.diff(offsets)[rows]
    bounds = np.concatenate([[0], np.cumsum(counts)])
    index = np.arange(bounds[-1]) + np.repeat(offsets[rows] - bounds[:-1], counts)
    return states.index_select(0, torch.from_numpy(index)), bounds


def training_units(
    source: ActivationFiles, responses: Responses, layers: Sequence[int], last_only: bool = False
) -> Units:
    """Return states and rewards of the training responses at the given layers; `last_only` keeps only s_T."""
    states = {}
    bounds = np.zeros(1, dtype=np.int64)
    for layer in layers:
        states[layer], bounds = take(*source.states(layer), responses.rows)
        if last_only:
            states[layer], bounds = states[layer][bounds[1:] - 1], np.arange(len(bounds))
    return Units(states, bounds, responses.rewards)


def number_of_states(source: ActivationFiles, responses: Responses) -> int:
    """Count the states s_0..s_T of the responses together."""
    return sum(source.rows[row][2] + 1 for row in responses.rows)


@dataclass(frozen=True)
class Paragraphs:
    """Kept paragraphs (|delta| > min_abs_delta) of one part of the split, sorted by response and position in it.

    `rows` [N]: problem id, sample, number of the paragraph; `delta` float64 [N]; `layers`: layer -> normalised mean
    activations [N, d].
    """

    rows: list[tuple[str, int, int]]
    delta: Float[np.ndarray, " paragraphs"]
    layers: dict[int, Tensor]

    @property
    def units(self) -> Units:
        """Each paragraph as a unit of one row."""
        return Units(self.layers, np.arange(len(self.delta) + 1), self.delta)


def read_features(
    features: Path, problems: Path | Sequence[Path]
) -> tuple[Callable[[str], Paragraphs], dict[str, Any]]:
    """Return a function from part of the split to its kept paragraphs, and the metadata of the file.

    Raises:
        UserError: an unreadable file, or problems of another data set.
    """
    tensors, metadata = read_safetensors(features)
    same_run({key: metadata[key] for key in KEYS if key in metadata}, problems=problems)
    split, rows = split_of(problems), decode_rows(tensors["rows"])
    kept = tensors["kept"].bool().tolist()
    names = {name: int(name.removeprefix("layer_")) for name in tensors if name.startswith("layer_")}

    def part_of(part: str) -> Paragraphs:
        chosen = sorted((row, i) for i, row in enumerate(rows) if kept[i] and split[row[0]] == part)
        index = torch.tensor([i for _, i in chosen], dtype=torch.int64)
        layers = {layer: tensors[name][index] for name, layer in sorted(names.items(), key=lambda item: item[1])}
        names_of = [(row[0], row[1], row[2]) for row, _ in chosen]
        return Paragraphs(names_of, tensors["delta"][index].double().numpy(), layers)

    return part_of, metadata


def end_states(source: ActivationFiles, responses: Responses, layer: int) -> list[Tensor]:
    """Return states [R, d] of the responses at s_0 and at s_T."""
    states, offsets = source.states(layer)
    first, last = offsets[:-1][responses.rows], offsets[1:][responses.rows] - 1
    return [states[torch.from_numpy(index)] for index in (first, last)]
