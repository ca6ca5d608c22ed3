"""What the tables show, do not show and cannot decide: pure functions from intervals to verdicts and sentences.

Every rule is stated once, in `RULES`, and printed in the report. The words state what was measured. Four verdicts:
`supported`, `contradicted`, `undecided` (the intervals allow both), `not judged` (with the reason).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from workflow_scripts.lib.claims.verdicts import CONTRADICTED, NOT_JUDGED, SUPPORTED, UNDECIDED, VERDICTS, Finding, Rule
from workflow_scripts.lib.formatting import listed, number

SPARSE = (0.9, 0.99)
"""The range of prune ratios that a claim about a sparse subset is about."""
TOLERANCE = 1e-9


RULES = {
    "informative": Rule(
        "Better than chance",
        "With all inputs kept, the probe does better than chance and than a probe trained on shuffled labels.",
        "The bar is the larger of chance (0.5 for AUC, 0 for Spearman) and the shuffled-label value. Supported: the "
        "whole interval lies above the bar. Contradicted: the whole interval lies at or below it. Undecided: it "
        "contains the bar.",
    ),
    "stable": Rule(
        "Keeps its level when pruned",
        "The curve keeps its level up to a prune ratio of 0.99.",
        "Judged only where the first claim is supported: a curve at chance has no level to keep. Supported: at every "
        "ratio up to 0.99 the mean is not below the interval at full inputs, and at the last of them the whole "
        "interval is still above the bar. Contradicted: at some ratio the whole interval lies below the interval at "
        "full inputs. Undecided: neither.",
    ),
    "selective": Rule(
        "Better than random inputs",
        "From 0.90 to 0.99, inputs kept by importance do better than inputs kept at random.",
        "Supported: at every ratio in that range the mean lies above the band of the random draws. Contradicted: at "
        "every ratio it is at or below the random mean. Undecided: anything else.",
    ),
}
PRINTED_RULE = (
    "Supported: the whole interval, at every prune ratio, lies above the printed level. Contradicted: with all inputs "
    "kept, the whole interval lies at or below it. Undecided: anything else."
)


@dataclass(frozen=True)
class Point:
    """One prune ratio of a curve; numbers that could not be computed are None."""

    prune_ratio: float
    value: float | None
    ci_low: float | None
    ci_high: float | None
    random_mean: float | None = None
    random_high: float | None = None
    shuffled: float | None = None
    reason: str | None = None


def with_interval(point: Point) -> str:
    """Format as `0.71 [0.65, 0.77]`."""
    return f"{number(point.value)} [{number(point.ci_low)}, {number(point.ci_high)}]"


def why_missing(points: Sequence[Point]) -> str:
    """Return the reason that the table gives for a curve without numbers."""
    reasons = [point.reason for point in points if point.reason]
    return reasons[0] if reasons else "no number with an interval in the table"


def is_known(point: Point) -> bool:
    """Say whether the point has a value and an interval."""
    return point.value is not None and point.ci_low is not None and point.ci_high is not None


def bar_of(point: Point, chance: float) -> float:
    """Return what a probe must exceed: chance, or its shuffled-label twin where that is higher."""
    return chance if point.shuffled is None else max(chance, point.shuffled)


def missing_full_inputs(points: Sequence[Point]) -> str | None:
    """Say why the value with all inputs kept is missing; return None where it is not."""
    if not points or points[0].prune_ratio != 0:
        return "prune ratio 0 (all inputs kept) was not run"
    return None if is_known(points[0]) else why_missing(points)


def judge_informative(points: Sequence[Point], chance: float) -> Finding:
    """Judge the claim `informative` on one curve, its points in the order of prune ratios."""
    if missing := missing_full_inputs(points):
        return Finding(NOT_JUDGED, missing)
    first = points[0]
    bar = bar_of(first, chance)
    assert first.ci_low is not None and first.ci_high is not None
    control = f"shuffled labels {number(first.shuffled)}" if first.shuffled is not None else "no shuffled-label probe"
    evidence = f"{with_interval(first)} with all inputs; chance {number(chance)}, {control}"
    if first.ci_low > bar:
        return Finding(SUPPORTED, evidence)
    return Finding(CONTRADICTED if first.ci_high <= bar else UNDECIDED, evidence)


def judge_stable(points: Sequence[Point], chance: float) -> Finding:
    """Judge the claim `stable` on one curve."""
    base = judge_informative(points, chance)
    if base.verdict == NOT_JUDGED:
        return base
    if base.verdict != SUPPORTED:
        return Finding(NOT_JUDGED, "not shown to be above chance with all inputs")
    curve = [point for point in points if point.prune_ratio <= SPARSE[1] + TOLERANCE]
    if not all(is_known(point) for point in curve):
        return Finding(NOT_JUDGED, why_missing([point for point in curve if not is_known(point)]))
    first, last = curve[0], curve[-1]
    assert first.ci_low is not None and last.ci_low is not None
    evidence = f"{with_interval(first)} with all inputs, {with_interval(last)} at {last.prune_ratio:g}"
    fallen = [p for p in curve if p.ci_high is not None and p.ci_high < first.ci_low]
    if fallen:
        return Finding(CONTRADICTED, f"{evidence}; first wholly below at {fallen[0].prune_ratio:g}")
    lower = [p for p in curve if p.value is not None and p.value < first.ci_low - TOLERANCE]
    if lower:
        return Finding(UNDECIDED, f"{evidence}; the mean leaves the first interval at {lower[0].prune_ratio:g}")
    if last.ci_low <= bar_of(last, chance):
        return Finding(UNDECIDED, f"{evidence}; at {last.prune_ratio:g} no longer shown to be above chance")
    return Finding(SUPPORTED, evidence)


def judge_selective(points: Sequence[Point], chance: float) -> Finding:
    """Judge the claim `selective` on one curve. `chance` is unused; the signature is that of every claim."""
    del chance
    sparse = [p for p in points if SPARSE[0] - TOLERANCE <= p.prune_ratio <= SPARSE[1] + TOLERANCE]
    if not sparse:
        return Finding(NOT_JUDGED, "no prune ratio from 0.90 to 0.99 was run")
    if any(p.value is None or p.random_mean is None or p.random_high is None for p in sparse):
        return Finding(NOT_JUDGED, why_missing([p for p in sparse if p.value is None or p.random_mean is None]))
    above = [p for p in sparse if p.value > p.random_high]  # type: ignore[operator]
    below = [p for p in sparse if p.value <= p.random_mean]  # type: ignore[operator]
    first, last = sparse[0], sparse[-1]
    ends = "; ".join(
        f"at {p.prune_ratio:g}: {number(p.value)}, random {number(p.random_mean)}, band up to {number(p.random_high)}"
        for p in ([first] if first is last else [first, last])
    )
    evidence = f"above the band at {len(above)} of {len(sparse)} ratios: {ends}"
    if len(above) == len(sparse):
        return Finding(SUPPORTED, evidence)
    return Finding(CONTRADICTED if len(below) == len(sparse) else UNDECIDED, evidence)


JUDGES = {"informative": judge_informative, "stable": judge_stable, "selective": judge_selective}


def judge_level(points: Sequence[Point], level: float) -> Finding:
    """Judge whether a curve stays above a printed level (rule `PRINTED_RULE`)."""
    if missing := missing_full_inputs(points):
        return Finding(NOT_JUDGED, missing)
    known = [point for point in points if is_known(point)]
    lows = [point.ci_low for point in known if point.ci_low is not None]
    high = known[0].ci_high
    assert high is not None
    evidence = f"{with_interval(known[0])} with all inputs; lowest limit over the curve {number(min(lows))}"
    if min(lows) > level and len(known) == len(points):
        return Finding(SUPPORTED, evidence)
    return Finding(CONTRADICTED if high <= level else UNDECIDED, evidence)


def summarise(by_layer: dict[int, Finding]) -> str:
    """Summarise a claim over the layers of a run in one sentence, with the reason where layers were not judged."""
    if not by_layer:
        return "Nothing was measured."
    parts = []
    for verdict in VERDICTS:
        layers = [layer for layer, finding in by_layer.items() if finding.verdict == verdict]
        if layers:
            noun = "layer" if len(layers) == 1 else "layers"
            everywhere = len(layers) == len(by_layer) > 1
            where = f"all {len(layers)} layers" if everywhere else f"{noun} {listed(layers)}"
            reasons = sorted({by_layer[layer].evidence for layer in layers})
            parts.append(f"{verdict} in {where}" + (f" ({'; '.join(reasons)})" if verdict == NOT_JUDGED else ""))
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}."


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
    """Read one row of a pruning table."""
    names = ("prune_ratio", "ci_low", "ci_high", "random_mean", "random_high", "shuffled", "reason")
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
