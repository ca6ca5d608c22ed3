"""The problems of a table of scores, and the joint resamples of them that all its cells share."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from workflow_scripts.lib.statistics.estimands import Size
from workflow_scripts.lib.statistics.intervals import Array, Resampling
from workflow_scripts.lib.statistics.joint import Resamples, resample, within_problems


@dataclass(frozen=True)
class Sample:
    """The problems of one table, numbered by data set, with the resamples that all its cells share."""

    numbers: dict[str, dict[str, int]]
    resamples: dict[str, Resamples] = field(repr=False)

    @classmethod
    def of(cls, name: str, frame: pl.DataFrame, how: Resampling) -> "Sample":
        """Build from a table: number the problems of each data set and resample them."""
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


def by_problem(sample: Sample, dataset: str, part: pl.DataFrame, *columns: str) -> tuple[Array, Array]:
    """Return the problems of some rows, ascending, and the mean of each column within each: [columns, problems]."""
    problems, places = np.unique(sample.rows(dataset, part["problem_id"]), return_inverse=True)
    values = part.select(pl.col(name).cast(pl.Float64) for name in columns).to_numpy().T
    return problems, within_problems(values, places, len(problems))
