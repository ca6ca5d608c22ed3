"""The tests behind the verdicts on the paper's claims: averages over runs and layers, and one claim from several.

An average over runs and layers has the average of their limits as its interval. That is wide enough whatever the
members share (the standard deviation of a mean is at most the mean of the standard deviations); it is not sharp where
they share nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import norm

from workflow_scripts.lib.claims.curve_rules import SPARSE, TOLERANCE, Point, why_missing
from workflow_scripts.lib.claims.verdicts import (
    CONTRADICTED,
    NOT_JUDGED,
    SUPPORTED,
    UNDECIDED,
    Finding,
    judge_gain,
    judge_harm,
)
from workflow_scripts.lib.formatting import fine_interval, number

FEWEST = 20
"""Problems (or paragraphs) below which no interval is trusted with a verdict: the bootstrap is too narrow there."""
TOO_FEW = f"fewer than {FEWEST} problems or paragraphs to judge by"
AVERAGED = (
    "Judged on the average over all runs and layers, whose limits are the averages of their limits. "
    f"With {TOO_FEW}, nothing is decided. "
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Measure:
    """A number with its interval, averaged over `n` rows of a table; None where no row has one, with the reason."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None

    def __str__(self) -> str:
        """Format as `0.712 [0.652, 0.771]`, or say why there is no number."""
        return fine_interval(self.value, self.low, self.high) if self.value is not None else self.reason or "no number"


def average(rows: Sequence[Row], value: str, low: str = "ci_low", high: str = "ci_high", size: str = "n") -> Measure:
    """Average a column with its interval, over the rows that have one and enough problems behind it."""
    whole = [row for row in rows if None not in (row[value], row[low], row[high])]
    usable = [row for row in whole if row[size] is not None and row[size] >= FEWEST]
    if not usable:
        reasons = [row["reason"] for row in rows if row.get("reason")] or ["not measured"]
        return Measure(None, None, None, 0, TOO_FEW if whole else reasons[0])
    means = [float(np.mean([row[name] for row in usable])) for name in (value, low, high)]
    return Measure(means[0], means[1], means[2], len(usable))


def factor(n: int, confidence: float) -> float:
    """Compute how much wider an interval must be to hold for n of them together (Bonferroni, normal quantiles)."""
    return float(norm.ppf(1 - (1 - confidence) / (2 * n)) / norm.ppf(0.5 + confidence / 2)) if n > 1 else 1.0


def widened(measure: Measure, by: float) -> Measure:
    """Stretch the interval of a measure."""
    if measure.value is None or measure.low is None or measure.high is None:
        return measure
    low, high = (measure.value + by * (limit - measure.value) for limit in (measure.low, measure.high))
    return replace(measure, low=low, high=high)


def above(measure: Measure) -> str:
    """Judge a measure that is claimed to lie above 0."""
    return judge_gain(measure.low, measure.high)


def below(measure: Measure) -> str:
    """Judge a measure that is claimed to lie below 0."""
    return judge_harm(measure.low, measure.high)


def all_of(plain: Sequence[str], wide: Sequence[str], fewest: int = 1) -> str:
    """Support if all verdicts support (no correction: all must pass); contradict if one does, at the wider interval."""
    if len(plain) >= fewest and plain and all(verdict == SUPPORTED for verdict in plain):
        return SUPPORTED
    return CONTRADICTED if CONTRADICTED in wide else UNDECIDED


def against_each(measures: Mapping[str, Measure], judge: Callable[[Measure], str], confidence: float) -> Finding:
    """Judge a claim about every one of several opponents."""
    if not measures:
        return Finding(UNDECIDED, "not measured")
    by = factor(len(measures), confidence)
    verdict = all_of([judge(m) for m in measures.values()], [judge(widened(m, by)) for m in measures.values()])
    return Finding(verdict, "; ".join(f"{name}: {measure}" for name, measure in measures.items()))


def mean_curve(curves: Sequence[Sequence[Point]]) -> list[Point]:
    """Average several curves at the prune ratios that all of them have; leave out curves without numbers."""
    whole = [curve for curve in curves if curve and all(point.value is not None for point in curve)]
    if not whole:
        return [Point(0.0, None, None, None, reason=why_missing([p for curve in curves for p in curve]))]
    ratios = set.intersection(*({point.prune_ratio for point in curve} for curve in whole))
    points = []
    for ratio in sorted(ratios):
        here = [next(point for point in curve if point.prune_ratio == ratio) for curve in whole]
        names = ("value", "ci_low", "ci_high", "random_mean", "random_high", "shuffled")
        mean = {name: mean_or_none([getattr(point, name) for point in here]) for name in names}
        value, low, high, at_random, band, shuffled = (mean[name] for name in names)
        points.append(Point(ratio, value, low, high, at_random, band, shuffled))
    return points


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """Return the mean; None if one is missing."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def wider_curve(points: Sequence[Point], by: float) -> list[Point]:
    """Stretch the intervals of a curve."""

    def stretch(point: Point) -> Point:
        if point.value is None or point.ci_low is None or point.ci_high is None:
            return point
        low, high = (point.value + by * (limit - point.value) for limit in (point.ci_low, point.ci_high))
        return replace(point, ci_low=low, ci_high=high)

    return [stretch(point) for point in points]


def decided(finding: Finding) -> Finding:
    """Turn `not judged` into `undecided`: a claim of the paper is never `not judged`."""
    return Finding(UNDECIDED, finding.evidence) if finding.verdict == NOT_JUDGED else finding


def in_every_group(
    groups: Mapping[str, Sequence[Sequence[Point]]],
    judge: Callable[[Sequence[Point], float], Finding],
    chance: float,
    confidence: float,
) -> Finding:
    """Judge a claim about every one of at least two groups of curves, each by its average curve."""
    means = {name: mean_curve(curves) for name, curves in groups.items()}
    plain = {name: decided(judge(points, chance)) for name, points in means.items()}
    by = factor(len(means), confidence)
    wide = [decided(judge(wider_curve(points, by), chance)).verdict for points in means.values()]
    verdict = all_of([finding.verdict for finding in plain.values()], wide, fewest=2)
    evidence = "; ".join(f"{name}: {finding.verdict}, {finding.evidence}" for name, finding in plain.items())
    if len(means) == 1:
        evidence = f"only one was run ({evidence})"
    return Finding(verdict, evidence or "not measured")


def overlap(rows: Sequence[Row]) -> Finding:
    """Judge whether kept sets overlap more than random and shuffled-label ones, averaged over pairs and layers.

    Rows are of the table `transfer`, at the sparse ratios.
    """
    judged = [row for row in rows if row["iou"] is not None and SPARSE[0] - TOLERANCE <= row["prune_ratio"]]
    ratios = sorted({row["prune_ratio"] for row in judged})
    if not ratios:
        return Finding(UNDECIDED, "not measured")
    if any(row["n_pairs"] < 2 for row in judged):
        return Finding(UNDECIDED, "one pair of seeds only: how much seeds differ is unknown")
    points, verdicts = [], []
    for ratio in ratios:
        here = [row for row in judged if row["prune_ratio"] == ratio]
        names = ("iou", "iou_low", "iou_high", "random_mean", "random_high", "shuffled")
        mean = {name: mean_or_none([row[name] for row in here]) for name in names}
        floor, ceiling = (max(v for v in (mean[n], mean["shuffled"]) if v is not None) for n in names[3:5])
        verdicts.append((mean["iou_low"] > ceiling, mean["iou_high"] <= floor))  # type: ignore[operator]
        points.append(
            f"at {ratio:g}: IoU {number(mean['iou'])} [{number(mean['iou_low'])}, {number(mean['iou_high'])}], "
            f"random {number(mean['random_mean'])} (up to {number(mean['random_high'])}), shuffled labels "
            f"{number(mean['shuffled'])}"
        )
    evidence = "; ".join([points[0], points[-1]] if len(points) > 1 else points)
    if all(higher for higher, _ in verdicts):
        return Finding(SUPPORTED, evidence)
    return Finding(CONTRADICTED if all(lower for _, lower in verdicts) else UNDECIDED, evidence)
