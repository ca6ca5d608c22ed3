"""Comparisons: what a claim measures, as numbers that are averaged to one, and the margin that decides on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from workflow_scripts.lib.statistics.cells import Cell, average
from workflow_scripts.lib.statistics.estimands import Kind
from workflow_scripts.lib.statistics.intervals import Array
from workflow_scripts.lib.statistics.joint_intervals import Interval
from workflow_scripts.lib.statistics.set_overlap import overlap_interval

ALONE = ""
"""The name of a comparison that has no opponent."""


Place = tuple[str, int | None]
"""A run, or a pair of runs, and a layer."""


class Measured(NamedTuple):
    """The estimand of a comparison, None where nothing was measured, with its margin, and over how many parts it is."""

    interval: Interval | None
    margin: float
    parts: int = 1


class Part(NamedTuple):
    """What one run, or one pair of runs, contributes at one layer, measured by itself."""

    runs: str
    layer: int | None
    interval: Interval


class Comparison(Protocol):
    """Anything that is averaged over runs and layers."""

    @property
    def margin(self) -> float:
        """What decides, in the units of the estimand."""

    @property
    def places(self) -> list[Place]:
        """Return where each part was measured."""

    def average(self, confidence: float) -> Interval | None:
        """Return the average over all parts with its interval; None where there are none."""

    def parts(self, confidence: float) -> list[Part]:
        """Return every part with an interval of its own."""


Comparisons = Mapping[str, Comparison]


def measure(comparisons: Comparisons, confidence: float) -> dict[str, Measured]:
    """Average every comparison."""
    return {name: Measured(one.average(confidence), one.margin, len(one.places)) for name, one in comparisons.items()}


@dataclass(frozen=True)
class OfCells:
    """A comparison of scores per problem."""

    kind: Kind
    cells: Sequence[Cell]
    margin: float

    @property
    def places(self) -> list[Place]:
        """Return run and layer of each cell."""
        return [("/".join(cell.run), cell.layer) for cell in self.cells]

    def average(self, confidence: float) -> Interval | None:
        """Average over the cells, on the same resamples of problems."""
        return average(self.kind, self.cells, confidence)

    def parts(self, confidence: float) -> list[Part]:
        """Measure each cell by itself."""
        each = [average(self.kind, [cell], confidence) for cell in self.cells]
        return [Part(*place, found) for place, found in zip(self.places, each, strict=True) if found is not None]


@dataclass(frozen=True)
class Overlap:
    """The overlap of the sets that pairs of probe seeds select, in one pair of runs at one layer.

    `matrix` [seeds, seeds] is NaN where a seed would meet itself; `chance` is what uniformly drawn sets share.
    """

    runs: str
    layer: int
    matrix: Array
    chance: float


@dataclass(frozen=True)
class OfSets:
    """A comparison of sets of neurons; `neurons` counts those of the smallest set."""

    overlaps: Sequence[Overlap]
    neurons: int
    margin: float

    @property
    def places(self) -> list[Place]:
        """Return each pair of runs and layer; an overlap may be given for several prune ratios."""
        return list(dict.fromkeys((one.runs, one.layer) for one in self.overlaps))

    def average(self, confidence: float) -> Interval | None:
        """Average over the overlaps; the seeds are the sample."""
        return self._interval(self.overlaps, confidence) if self.overlaps else None

    def parts(self, confidence: float) -> list[Part]:
        """Measure every pair of runs and layer by itself, averaged over what else it is given for (prune ratios)."""
        of = {place: [one for one in self.overlaps if (one.runs, one.layer) == place] for place in self.places}
        return [Part(*place, self._interval(overlaps, confidence)) for place, overlaps in of.items()]

    def _interval(self, overlaps: Sequence[Overlap], confidence: float) -> Interval:
        matrices = [np.asarray(one.matrix) for one in overlaps]
        return overlap_interval(matrices, [one.chance for one in overlaps], self.neurons, confidence)
