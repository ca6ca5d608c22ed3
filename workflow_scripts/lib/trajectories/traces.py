"""Activations of followed neurons over the tokens of responses: which neurons, their sign, the files and their reader.

A dopamine neuron may carry the TD error with either sign. Each followed neuron is therefore oriented by its correlation
with the TD error on the paragraphs of training problems; the sign is kept, and activations are stored as they are
(method, section 10; paper, Section 4.4 and Appendix G).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.statistics.ranks import round_ties, spearman, spearman_undefined
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet

FORMAT, ABLATED_FORMAT = "trajectories-1", "ablated-1"
NUMBERS = ("values", "value_low", "value_high", "deltas", "delta_low", "delta_high")
SCHEMA: dict[str, Any] = {
    "problem_id": pl.String,
    "sample": pl.Int64,
    "split": pl.String,
    "reward": pl.Int64,
    "pieces": pl.List(pl.String),
    "boundaries": pl.List(pl.Int64),
    **dict.fromkeys(NUMBERS, pl.List(pl.Float64)),
    "kept": pl.List(pl.Boolean),
    "activations": pl.List(pl.List(pl.Float32)),
}
"""A row is a response of T tokens and K paragraphs: `pieces` [T], `boundaries` [K + 1], values [K + 1], TD errors and
`kept` [K], `activations` [neurons, T], normalised and not oriented."""


@dataclass(frozen=True)
class Followed:
    """A neuron whose activation is followed.

    `kind` is `dopamine` or `random`; `rank` counts the importance of dopamine neurons from 1. `sign` is that of
    `training`, the Spearman correlation with the TD error on training paragraphs; where there is none, `sign` is 1 and
    `reason` says why.
    """

    neuron: int
    kind: str
    rank: int | None = None
    sign: int = 1
    training: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Traced:
    """The trajectories of one run: model and data set, layer, normalisation, neurons, and a row for each response."""

    model: str
    dataset: str
    layer: int
    normalization: str
    neurons: list[Followed]
    responses: pl.DataFrame

    @property
    def run(self) -> str:
        """`model/dataset`."""
        return f"{self.model}/{self.dataset}"

    def of(self, split: str) -> "Traced":
        """Return the responses of one part of the split."""
        return Traced(**(vars(self) | {"responses": self.responses.filter(pl.col("split") == split)}))

    def places(self, kind: str) -> list[int]:
        """Return the indices in `neurons` of one kind, dopamine neurons by rank."""
        return [place for place, one in enumerate(self.neurons) if one.kind == kind]


@dataclass(frozen=True)
class ParagraphMeans:
    """The N paragraphs of responses: problem, TD error, whether it is kept, mean activation of m neurons [m, N]."""

    problem_ids: list[str]
    delta: Float[np.ndarray, " paragraphs"]
    kept: Bool[np.ndarray, " paragraphs"]
    means: Float[np.ndarray, "neurons paragraphs"]

    def only_kept(self) -> "ParagraphMeans":
        """Return the paragraphs whose TD error is large enough to be kept."""
        names = [name for name, keep in zip(self.problem_ids, self.kept, strict=True) if keep]
        return ParagraphMeans(names, self.delta[self.kept], self.kept[self.kept], self.means[:, self.kept])


def means_between(
    activations: Float[np.ndarray, "neurons T"], boundaries: Sequence[int]
) -> Float[np.ndarray, "neurons K"]:
    """Return the mean over the tokens of each paragraph (paper, equation 14)."""
    parts = [activations[:, start:end].mean(1) for start, end in pairwise(boundaries)]
    return np.stack(parts, axis=1) if parts else np.zeros((len(activations), 0))


def activations_of(row: Mapping[str, Any], n_neurons: int) -> Float[np.ndarray, "neurons T"]:
    """Return the activations of one row as float64; a response without tokens has none."""
    return np.array(row["activations"], dtype=float).reshape(n_neurons, len(row["pieces"]))


def paragraph_means(traced: Traced) -> ParagraphMeans:
    """Return the paragraphs of all responses, in the order of the responses; activations are not oriented."""
    names: list[str] = []
    delta: list[float] = []
    kept: list[bool] = []
    parts = [np.zeros((len(traced.neurons), 0))]
    for row in traced.responses.iter_rows(named=True):
        names += [row["problem_id"]] * len(row["deltas"])
        delta += row["deltas"]
        kept += row["kept"]
        parts.append(means_between(activations_of(row, len(traced.neurons)), row["boundaries"]))
    return ParagraphMeans(names, np.array(delta, dtype=float), np.array(kept, dtype=bool), np.concatenate(parts, 1))


def orient(traced: Traced) -> list[Followed]:
    """Return the neurons with their signs, by kept paragraphs of training problems; if undecided, by all of them."""
    everything = paragraph_means(traced.of("train"))
    oriented = []
    for place, one in enumerate(traced.neurons):
        correlation, reason = None, None
        for part in (everything.only_kept(), everything):
            rho = correlation_with_delta(part.means[place], part.delta)
            if rho is not None:
                correlation = rho
                break
            reason = spearman_undefined(round_ties(part.means[place]), part.delta) or "undefined"
        sign = -1 if correlation is not None and correlation < 0 else 1
        why = None if correlation is not None else f"no sign from training paragraphs ({reason})"
        oriented.append(Followed(one.neuron, one.kind, one.rank, sign, correlation, why))
    return oriented


def correlation_with_delta(means: Float[np.ndarray, " n"], delta: Float[np.ndarray, " n"]) -> float | None:
    """Return the Spearman correlation over paragraphs, or None where it is undefined."""
    if spearman_undefined(round_ties(means), delta):
        return None
    return float(spearman(round_ties(means), delta))


def write_trace(traced: Traced, path: Path, **identity: Any) -> None:
    """Write one table; facts about the whole run are in its metadata."""
    facts = identity | {name: value for name, value in vars(traced).items() if name != "responses"}
    facts |= {"format": FORMAT, "neurons": [asdict(one) for one in traced.neurons]}
    metadata = {name: json.dumps(value) for name, value in facts.items()}
    write_parquet(traced.responses.select(list(SCHEMA)), path, metadata)


def read_trace(path: Path) -> Traced:
    """Read a table of trajectories.

    Raises:
        UserError: not such a table.
    """
    responses = read_parquet(path)
    metadata = read_about(path, FORMAT)
    names = ("model", "dataset", "layer", "normalization")
    neurons = [Followed(**one) for one in metadata["neurons"]]
    return Traced(**{name: metadata[name] for name in names}, neurons=neurons, responses=responses)


def read_about(path: Path, expected: str) -> dict[str, Any]:
    """Read the metadata of a table.

    Raises:
        UserError: it is of another format.
    """
    metadata = pl.read_parquet_metadata(path)
    if json.loads(metadata.get("format", "null")) != expected:
        raise UserError(f"{path}: not a table in format {expected}; delete it and run again")
    return {name: json.loads(value) for name, value in metadata.items() if not name.startswith("ARROW")}


@dataclass(frozen=True)
class Surprise:
    """A response that turned out otherwise than expected: `row` of the table, `kind` `positive` or `negative`."""

    kind: str
    row: dict[str, Any]


MIN_PARAGRAPHS = 3


def surprising(traced: Traced, kind: str) -> Surprise | None:
    """Return the validation response with the largest surprise of one kind, or None where nothing qualifies.

    Only those with at least `MIN_PARAGRAPHS` paragraphs count. Positive is the correct response with the lowest V(s_0),
    negative the incorrect one with the highest. Ties go to the larger maximum of |delta|, then to the first problem and
    sample.
    """
    reward = 1 if kind == "positive" else 0
    rows = [
        row
        for row in traced.of("validation").responses.iter_rows(named=True)
        if row["reward"] == reward and len(row["deltas"]) >= MIN_PARAGRAPHS
    ]

    def order(row: dict[str, Any]) -> tuple[float, float, str, int]:
        first = row["values"][0] if kind == "positive" else -row["values"][0]
        return first, -max(map(abs, row["deltas"])), row["problem_id"], row["sample"]

    return Surprise(kind, min(rows, key=order)) if rows else None
