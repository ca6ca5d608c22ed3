"""Scores per problem: f(h) of pruned probes on held-out data, one row for each response or paragraph and prune ratio.

A control is a column: a list of float32 in each row, one entry for each probe that was scored. What the entries are is
in the file's metadata, beside what its parts are, so that a further column needs no other reader. Without torch,
because what is computed from scores needs none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from workflow_scripts.lib.storage.identity import table_metadata
from workflow_scripts.lib.storage.row_groups import read_groups
from workflow_scripts.lib.storage.tables import read_about

TRUTH = {"value": "reward", "dopamine": "delta"}
"""The column that each kind of probe is scored against."""
COLUMNS = ("true", "shuffled", "random", "retrained")
POSITIONS = ("initial", "final")
"""Where value probes are scored: s_0, before anything is generated, and s_T."""
NO_DRAW = -1

Key = dict[str, Any]
Entry = dict[str, Any]
"""A scored probe, as the pruning tables name it: its `labels` and `seed`, which inputs are `kept`, and the `draw`."""


@dataclass(frozen=True)
class About:
    """What the metadata of a file of scores say.

    `parts`: the key of each part, `layer` and of value probes `position`; a part is a row group. In each, the prune
    `ratios` follow one another; `n_kept` are the inputs kept at each. `entries`: column -> what the entries of its
    lists are. `untrained` says why the probes could not learn anything, if so.
    """

    parts: list[Key]
    ratios: list[float]
    n_kept: list[int]
    entries: dict[str, list[Entry]]
    untrained: str | None

    def metadata(self, kind: str, identity: Mapping[str, Any]) -> dict[str, str]:
        """Return the metadata of a file of scores of `value` or `dopamine` probes."""
        return table_metadata(f"{kind}_scores", identity, **asdict(self))


@dataclass(frozen=True)
class Part:
    """Scores of one layer (at one position) of N responses or paragraphs; `key` as in `About.parts`.

    `truth` float64 [N]: reward, or TD error; `columns`: column -> f(h) [ratios, entries, N].
    """

    key: Key
    problem_ids: list[str]
    truth: Float[np.ndarray, " n"]
    columns: dict[str, Float[np.ndarray, "ratios entries n"]]


def entries(seeds: Sequence[int], shuffled_seeds: Sequence[int], draws: int, retrained: bool) -> dict[str, list[Entry]]:
    """Return what the entries of each column are; those of `random` in the order draw, seed."""

    def entry(labels: str, seed: int, kept: str, draw: int = NO_DRAW) -> Entry:
        return {"labels": labels, "seed": seed, "kept": kept, "draw": draw}

    columns = {
        "true": [entry("true", seed, "importance") for seed in seeds],
        "shuffled": [entry("shuffled", seed, "importance") for seed in shuffled_seeds],
        "random": [entry("true", seed, "random", draw) for draw in range(draws) for seed in seeds],
    }
    return columns | ({"retrained": [entry("true", seed, "retrained") for seed in seeds]} if retrained else {})


def part_frame(
    about: About, key: Key, units: pl.DataFrame, columns: Mapping[str, Float[np.ndarray, "ratios entries n"]]
) -> pl.DataFrame:
    """Return the rows of one part: all `units` (their identity and truth) for each prune ratio.

    A column of `COLUMNS` that is not given is null.
    """
    n_rows = len(about.ratios) * len(units)
    frame = pl.concat([units] * len(about.ratios)).with_columns(
        pl.Series("prune_ratio", np.repeat(about.ratios, len(units)), dtype=pl.Float64),
        pl.Series("n_kept", np.repeat(about.n_kept, len(units)), dtype=pl.Int64),
        *(pl.lit(value).cast(pl.Int64 if name == "layer" else pl.String).alias(name) for name, value in key.items()),
        *(list_series(name, columns.get(name), n_rows) for name in COLUMNS),
    )
    return frame.select(*key, "prune_ratio", "n_kept", *units.columns, *COLUMNS)


def list_series(name: str, scores: Float[np.ndarray, "ratios entries n"] | None, n_rows: int) -> pl.Series:
    """Return a column with the entries of each row as a list; without scores, of nulls."""
    if scores is None:
        return pl.Series(name, [None] * n_rows, dtype=pl.List(pl.Float32))
    width = scores.shape[1]
    rows = scores.transpose(0, 2, 1).reshape(n_rows, width).astype(np.float32)
    return pl.Series(name, rows, dtype=pl.Array(pl.Float32, width)).arr.to_list()


def read_scores(path: Path, kind: str) -> tuple[About, Iterator[Part]]:
    """Return what a file of scores of `value` or `dopamine` probes says, and its parts, of which one is in memory.

    Raises:
        UserError: the file is missing, damaged, or was not written by the project.
    """
    about = About(**read_about(path, [field.name for field in fields(About)]))
    groups = zip(about.parts, read_groups(path), strict=True)
    return about, (part_of(about, key, rows, TRUTH[kind]) for key, rows in groups)


def part_of(about: About, key: Key, rows: pl.DataFrame, truth: str) -> Part:
    """Return a part from its rows."""
    n_ratios, n = len(about.ratios), len(rows) // len(about.ratios)
    columns = {}
    for name, of_column in about.entries.items():
        lists = rows[name].list.to_array(len(of_column)).to_numpy()
        columns[name] = np.ascontiguousarray(lists.reshape(n_ratios, n, len(of_column)).transpose(0, 2, 1))
    units = rows.head(n)
    return Part(key, units["problem_id"].to_list(), units[truth].cast(pl.Float64).to_numpy(), columns)
