"""The scores that verdicts rest on, and the joint resamples of their problems.

A table of scores has a row for each problem (response, paragraph) under each condition. All cells of one data set in one
table share the resamples of its problems; data sets are resampled apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from workflow_scripts.lib.statistics.estimands import Size
from workflow_scripts.lib.statistics.intervals import Array, Resampling
from workflow_scripts.lib.statistics.joint import Resamples, resample
from workflow_scripts.lib.storage.identity import Run, group_by_run
from workflow_scripts.lib.storage.tables import read_parquet

FULL, SPARSE = 0.0, 0.99
"""The prune ratios that claims compare: all inputs, and the one percent with the largest weights."""


@dataclass(frozen=True)
class Scores:
    """All scores of a study, by table; `value` and `dopamine` at the prune ratios that claims compare."""

    value: pl.DataFrame
    dopamine: pl.DataFrame
    masks: pl.DataFrame
    confidence: pl.DataFrame
    search: pl.DataFrame
    trajectories: pl.DataFrame
    ablated: pl.DataFrame
    overlap: pl.DataFrame
    neurons: pl.DataFrame
    """Rank of each neuron in each probe: `results/neurons/{model}.parquet`."""
    selected: pl.DataFrame
    """The neurons of each selection: `results/neurons/{model}/{dataset}.parquet`."""


@dataclass(frozen=True)
class Sample:
    """The problems of one table, numbered by data set, with the resamples that all its cells share."""

    numbers: dict[str, dict[str, int]]
    resamples: dict[str, Resamples] = field(repr=False)

    @classmethod
    def of(cls, name: str, frame: pl.DataFrame, how: Resampling) -> "Sample":
        """Number the problems of a table and resample those of each data set."""
        numbers: dict[str, dict[str, int]] = {}
        for dataset, problem in frame.select("dataset", "problem_id").unique().sort("dataset", "problem_id").rows():
            of_dataset = numbers.setdefault(dataset, {})
            of_dataset[problem] = len(of_dataset)
        drawn = {key: resample(len(ids), how.resamples, how.seed, name, key) for key, ids in numbers.items()}
        return cls(numbers, drawn)

    def rows(self, dataset: str, problems: Iterable[str]) -> Int[Array, " rows"]:
        """Return the number of each row's problem."""
        numbers = self.numbers[dataset]
        return np.array([numbers[problem] for problem in problems], dtype=np.int64)

    def weights(self, dataset: str, problems: Int[Array, " rows"]) -> Float[Array, "rows 1+draws"]:
        """Return how often each row occurs in the data set's resamples."""
        return self.resamples[dataset].rows(problems)

    def of_problems(self, dataset: str, problems: Int[Array, " problems"]) -> Resamples:
        """Return the resamples of some of the data set's problems."""
        drawn = self.resamples[dataset]
        return Resamples(drawn.rows(problems), drawn.pseudo)


def size_of(problems: Int[Array, " rows"], rewards: Float[Array, " rows"] | None = None) -> Size:
    """Count problems and, given rewards, those of the rarer outcome; several responses of a problem share its count."""
    names, places, counts = np.unique(problems, return_inverse=True, return_counts=True)
    if rewards is None:
        return Size(len(names))
    correct = float((np.asarray(rewards, float) / counts[places]).sum())
    return Size(len(names), int(np.floor(min(correct, len(names) - correct) + 1e-9)))


def read_scores(paths: Sequence[Path]) -> pl.DataFrame:
    """Read the scores of probes of all runs, at the prune ratios that claims compare."""
    frames = []
    for (model, dataset), files in sorted(group_by_run(paths, "shard").items()):
        rows = read_parquet(files)
        compared = pl.col("prune_ratio").is_in([FULL, SPARSE])
        frames.append(rows.filter(compared).with_columns(model=pl.lit(model), dataset=pl.lit(dataset)))
    return pl.concat(frames, how="diagonal_relaxed") if frames else nothing()


def read_runs(paths: Sequence[Path]) -> pl.DataFrame:
    """Read one table of each run, with its model and data set."""
    frames = [
        read_parquet(files).with_columns(model=pl.lit(model), dataset=pl.lit(dataset))
        for (model, dataset), files in sorted(group_by_run(paths, "file").items())
    ]
    return pl.concat(frames, how="diagonal_relaxed") if frames else nothing()


def nothing() -> pl.DataFrame:
    """Return a table without rows, for a stage that a study does not have."""
    return pl.DataFrame(schema={"model": pl.String, "dataset": pl.String, "problem_id": pl.String})


def listed(column: pl.Series) -> Float[Array, "members rows"]:
    """Return a column of lists of one length, an entry a member, as an array."""
    return np.array(column.to_list(), dtype=np.float32).reshape(len(column), -1).T


def runs_of(frame: pl.DataFrame, named: Sequence[str] | None = None) -> list[Run]:
    """List the runs of a table; those that are named (`model/dataset`) where it has any of them."""
    found = frame.select("model", "dataset").unique().sort("model", "dataset").rows()
    chosen = [run for run in found if "/".join(run) in (named or ())]
    return chosen or found
