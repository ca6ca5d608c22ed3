"""Pruning curves as the tables hold them, for figures and tables of the report."""

from dataclasses import dataclass
from typing import Any

import polars as pl

from workflow_scripts.lib.formatting import number

PLACES = {
    "initial": "Value probes at the last prompt token",
    "final": "Value probes at the last response token",
    "paragraph": "Dopamine probes on paragraphs",
}
"""Which state a probe reads, and how the report calls it."""
METRICS = {"initial": "AUC", "final": "AUC", "paragraph": "Spearman correlation"}


@dataclass(frozen=True)
class Point:
    """One prune ratio of a curve; numbers that could not be computed are None."""

    prune_ratio: float
    value: float | None
    ci_low: float | None
    ci_high: float | None
    random_mean: float | None = None
    shuffled: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        """Write as `0.71 [0.65, 0.77]`."""
        return f"{number(self.value)} [{number(self.ci_low)}, {number(self.ci_high)}]"


@dataclass(frozen=True)
class Curve:
    """The points of one curve, in the order of prune ratios."""

    model: str
    dataset: str
    place: str
    layer: int
    points: tuple[Point, ...]
    noise_ceiling: float | None = None

    @property
    def run(self) -> str:
        """Model and data set as the configuration writes them."""
        return f"{self.model}/{self.dataset}"

    def at(self, ratio: float) -> Point | None:
        """Return the point at a prune ratio; None where it has no number."""
        return next((point for point in self.points if point.prune_ratio == ratio and point.value is not None), None)

    @property
    def why_missing(self) -> str | None:
        """The reason that the table gives where a number is missing."""
        return next((point.reason for point in self.points if point.value is None and point.reason), None)


def point_of(row: dict[str, Any], metric: str) -> Point:
    """Read one row of a pruning table."""
    names = ("prune_ratio", "ci_low", "ci_high", "random_mean", "shuffled", "reason")
    return Point(value=row[metric], **{name: row[name] for name in names})


def curves_of(table: pl.DataFrame, metric: str) -> list[Curve]:
    """Read all curves of a pruning table, in its order."""
    if "position" not in table.columns:
        table = table.with_columns(position=pl.lit("paragraph"))
    curves = []
    keys = ["model", "dataset", "position", "layer"]
    for (model, dataset, place, layer), rows in table.sort("prune_ratio", maintain_order=True).group_by(
        keys, maintain_order=True
    ):
        points = tuple(point_of(row, metric) for row in rows.to_dicts())
        ceiling = rows["noise_ceiling"][0] if "noise_ceiling" in rows.columns else None
        curves.append(Curve(str(model), str(dataset), str(place), int(layer), points, ceiling))
    return sorted(curves, key=lambda curve: curve.layer)  # stable: runs stay in the order of the table


def by_run(curves: list[Curve]) -> dict[str, list[Curve]]:
    """Group curves by their run, in their order."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        groups.setdefault(curve.run, []).append(curve)
    return groups
