"""The scores that verdicts rest on, and the joint resamples of their problems.

A table of scores has a row for each problem (response, paragraph) under each condition. All cells of a data set in a
table share the resamples of its problems; data sets are resampled apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float

from workflow_scripts.lib.statistics.intervals import Array, Resampling
from workflow_scripts.lib.statistics.samples import Sample
from workflow_scripts.lib.storage.identity import Run, group_by_run
from workflow_scripts.lib.storage.tables import read_parquet

FULL, SPARSE = 0.0, 0.99
"""The prune ratios that claims compare: all inputs, and the one percent with the largest weights."""
KEYS = {
    "value": ("layer", "position", "prune_ratio"),
    "dopamine": ("layer", "prune_ratio"),
    "masks": ("layer", "selection", "share", "mode", "draw"),
    "confidence": ("method", "layer", "seed"),
    "search": ("method",),
    "trajectories": ("layer", "kind"),
    "ablated": ("layer", "condition", "draw"),
}
"""The columns beside model and data set by which each table is split."""


@dataclass(frozen=True)
class Table:
    """A table of scores: its parts by the values of some columns, model and data set first, and its problems."""

    parts: dict[tuple[Any, ...], pl.DataFrame]
    sample: Sample

    @classmethod
    def of(cls, name: str, frame: pl.DataFrame, how: Resampling) -> "Table":
        """Build from the rows of a table; a stage that a study does not have has none."""
        if frame.is_empty():
            return cls({}, Sample({}, {}))
        parts = frame.partition_by("model", "dataset", *KEYS[name], as_dict=True, maintain_order=True)
        return cls(parts, Sample.of(name, frame, how))

    def runs(self, named: Sequence[str] | None = None) -> list[Run]:
        """List the runs; those that are named (`model/dataset`), where there is any of them."""
        found = sorted({key[:2] for key in self.parts})
        chosen = [run for run in found if "/".join(run) in (named or ())]
        return chosen or found

    def layers(self, run: Run) -> list[int]:
        """List the layers at which a run has scores; the layer is the third of the columns."""
        return sorted({key[2] for key in self.parts if key[:2] == run})


@dataclass(frozen=True)
class Scores:
    """All scores of a study: tables by name (`KEYS`), and what claims about sets of neurons need.

    `overlap`: each pair of probes of two runs; `neurons`: the rank of each neuron in each probe; `selected`: the
    neurons of each selection. `share` and `mode` are those of Tables 2 and 5. `levels` keeps what was computed.
    """

    tables: dict[str, Table]
    overlap: pl.DataFrame
    neurons: pl.DataFrame
    selected: pl.DataFrame
    share: float
    mode: str
    confidence: float
    levels: dict[tuple[Any, ...], Float[Array, "members 1+draws"]] = field(default_factory=dict, repr=False)


def read_scores(paths: Sequence[Path]) -> pl.DataFrame:
    """Read the scores of probes of all runs, at the prune ratios that claims compare."""
    frames = []
    for (model, dataset), files in sorted(group_by_run(paths, "shard").items()):
        rows = read_parquet(files)
        compared = pl.col("prune_ratio").is_in([FULL, SPARSE])
        frames.append(rows.filter(compared).with_columns(model=pl.lit(model), dataset=pl.lit(dataset)))
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


def read_runs(paths: Sequence[Path]) -> pl.DataFrame:
    """Read one table of each run, with its model and data set."""
    frames = [
        read_parquet(files).with_columns(model=pl.lit(model), dataset=pl.lit(dataset))
        for (model, dataset), files in sorted(group_by_run(paths, "file").items())
    ]
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


def runs_in(frame: pl.DataFrame) -> list[Run]:
    """List the runs of a table without parts."""
    return frame.select("model", "dataset").unique().sort("model", "dataset").rows() if len(frame) else []


def listed(column: pl.Series) -> Float[Array, "members rows"]:
    """Return a column of lists of one length, an entry a member, as an array."""
    return np.ascontiguousarray(column.list.to_array(len(column[0])).to_numpy().T)
