"""Applies the rules of `lib.findings` to the tables: one verdict per claim, run, position and layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from workflow_scripts.lib.findings import JUDGES, Finding, Point, judge_level, number, summarise

PLACES = {
    "initial": "Value probes at the last prompt token",
    "final": "Value probes at the last response token",
    "paragraph": "Dopamine probes on paragraphs",
}
"""Where a probe is read, and how the report calls it."""
FIGURE_PLACES = {
    **dict.fromkeys(("fig1", "fig5", "fig6", "fig7"), "initial"),
    "fig11": "final",
    "fig4": "paragraph",
}
METRICS = {"initial": "AUC", "final": "AUC", "paragraph": "Spearman correlation"}
CHANCE = {"initial": 0.5, "final": 0.5, "paragraph": 0.0}


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


def point_of(row: dict[str, Any], metric: str) -> Point:
    """One row of a pruning table."""
    names = ("prune_ratio", "ci_low", "ci_high", "random_mean", "random_high", "shuffled", "reason")
    return Point(value=row[metric], **{name: row[name] for name in names})


def curves_of(table: pl.DataFrame, metric: str) -> list[Curve]:
    """All curves of a pruning table, in its order."""
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


@dataclass(frozen=True)
class Judged:
    """All verdicts on one run at one place: by claim, then by layer."""

    run: str
    place: str
    verdicts: dict[str, dict[int, Finding]]
    curves: tuple[Curve, ...]

    @property
    def layers(self) -> list[int]:
        """The layers judged."""
        return [curve.layer for curve in self.curves]

    @property
    def sentences(self) -> dict[str, str]:
        """One sentence per claim."""
        return {claim: summarise(by_layer) for claim, by_layer in self.verdicts.items()}

    @property
    def best(self) -> str:
        """The layer with the highest value at full inputs, in words, with the remark that the data shown chose it."""
        known = [c for c in self.curves if c.points[0].value is not None and c.points[0].prune_ratio == 0]
        if not known:
            return ""
        top = max(known, key=lambda curve: curve.points[0].value or 0.0)
        first, last = top.points[0], top.points[-1]
        of = "" if len(self.curves) == 1 else f" (the highest of {len(self.curves)} layers, chosen on the data shown)"
        ceiling = f"; noise ceiling {number(top.noise_ceiling)}" if top.noise_ceiling is not None else ""
        return (
            f"Layer {top.layer}{of}: {METRICS[self.place]} {number(first.value)} "
            f"[{number(first.ci_low)}, {number(first.ci_high)}] with all inputs, {number(last.value)} "
            f"[{number(last.ci_low)}, {number(last.ci_high)}] at prune ratio {last.prune_ratio:g}{ceiling}."
        )


def judge(curves: Sequence[Curve]) -> list[Judged]:
    """Every claim on every curve, grouped by place and run."""
    groups: dict[tuple[str, str], list[Curve]] = {}
    for place in PLACES:
        for curve in curves:
            if curve.place == place:
                groups.setdefault((place, curve.run), []).append(curve)
    return [
        Judged(
            run,
            place,
            {
                claim: {curve.layer: rule(curve.points, CHANCE[place]) for curve in members}
                for claim, rule in JUDGES.items()
            },
            tuple(members),
        )
        for (place, run), members in groups.items()
    ]


def beside_published(entry: dict[str, Any], judged: Sequence[Judged]) -> list[str]:
    """What is found here on something that the paper prints: one sentence for each run judged."""
    place = FIGURE_PLACES[entry["figure"]]
    sentences = []
    for item in judged:
        if item.place != place:
            continue
        if entry["claim"] == "level":
            by_layer = {curve.layer: judge_level(curve.points, entry["level"]) for curve in item.curves}
        else:
            by_layer = item.verdicts[entry["claim"]]
        sentences.append(f"{item.run}: {summarise(by_layer)}")
    return sentences
