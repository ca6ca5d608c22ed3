"""Cells: what one run contributes, at one layer, to an estimand; and their average with its interval."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from workflow_scripts.lib.statistics.estimands import Kind, Size
from workflow_scripts.lib.statistics.intervals import Array
from workflow_scripts.lib.statistics.joint_intervals import Interval, interval

Run = tuple[str, str]
"""Model and data set."""
Draws = Float[Array, " 1+draws"]
Members = Float[Array, "members 1+draws"]


@dataclass(frozen=True)
class Cell:
    """A number in the data (column 0) and in every resample, in parts that are added up.

    `sampled`: parts that are averaged over members drawn at random (probe seeds, draws of random neurons); `fixed`: the
    part without members.
    """

    run: Run
    layer: int | None
    size: Size
    sampled: tuple[Members, ...] = ()
    fixed: Draws | None = None

    @property
    def total(self) -> Draws:
        """The cell's number, averaged over members."""
        parts = [part.mean(0) for part in self.sampled]
        return np.sum([*parts, *([] if self.fixed is None else [self.fixed])], axis=0)

    def less(self, other: "Cell") -> "Cell":
        """Return this cell minus one of the same members, or one without any."""
        fixed = [one for one in (self.fixed, None if other.fixed is None else -other.fixed) if one is not None]
        sampled = self.sampled
        if other.sampled:
            sampled = tuple(a - b for a, b in zip(self.sampled, other.sampled, strict=True))
        n_rarer = [one.n_rarer for one in (self.size, other.size) if one.n_rarer is not None]
        size = Size(min(self.size.n, other.size.n), min(n_rarer, default=None))
        return replace(self, size=size, sampled=sampled, fixed=np.sum(fixed, axis=0) if fixed else None)


def average(kind: Kind, cells: Sequence[Cell], confidence: float) -> Interval | None:
    """Compute the mean over cells with its interval; None where there are none.

    Members of one number (a probe seed) are averaged over the cells first: they share their random stream. Members that
    a cell lacks (a draw that left nothing to compare there) count in no cell. Of the problems of a data set, the
    smallest numbers of its cells count.
    """
    if not cells:
        return None
    sampled = [
        np.mean([part[: min(map(len, parts))] for part in parts], axis=0)
        for parts in zip(*(cell.sampled for cell in cells), strict=True)
    ]
    fixed = [cell.fixed for cell in cells if cell.fixed is not None]
    sizes: dict[str, Size] = {}
    for cell in cells:
        other = sizes.setdefault(cell.run[1], cell.size)
        n_rarer = [one.n_rarer for one in (other, cell.size) if one.n_rarer is not None]
        sizes[cell.run[1]] = Size(min(other.n, cell.size.n), min(n_rarer, default=None))
    total = np.sum(fixed, axis=0) / len(cells) if fixed else None
    return interval(kind, list(sizes.values()), sampled, total, confidence)
