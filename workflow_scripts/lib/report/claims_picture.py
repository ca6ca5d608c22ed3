"""All claims in one picture: how far each number lies beyond its margin, on one axis, on the side of the claim."""

from collections.abc import Sequence
from dataclasses import dataclass

from workflow_scripts.lib.claims.decide import BELOW
from workflow_scripts.lib.formatting import fine, fine_interval
from workflow_scripts.lib.report.tables import Row

REACH = 0.3
"""Distance from the margin at which the axis ends; AUC, correlation, accuracy and overlap all have a range of 1."""
WIDTH = 240
"""Width of the axis in its own units; the margin is in the middle."""


@dataclass(frozen=True)
class Mark:
    """One claim: words, verdict, number, and where point and limits stand on the axis, from 0 to `WIDTH`.

    Positions are None where there is no interval; `beyond` says on which sides a limit lies off the axis.
    """

    key: str
    claim: str
    verdict: str
    measured: str
    point: float | None
    low: float | None
    high: float | None
    beyond: str


@dataclass(frozen=True)
class Picture:
    """The marks of all claims, the width of their axis, and what its ends mean."""

    marks: list[Mark]
    width: int
    reach: float


def picture(rows: Sequence[Row]) -> Picture:
    """Build the picture from the rows of `claims.csv`."""
    return Picture([mark(row) for row in rows], WIDTH, REACH)


def mark(row: Row) -> Mark:
    """Place one claim on the axis: to the right of the middle is the claim's side of the margin."""
    words = {name: row[name] for name in ("key", "claim", "verdict")}
    if row["value"] is None or row["ci_low"] is None:
        measured = "not measured" if row["value"] is None else f"{fine(row['value'])}, no interval"
        return Mark(**words, measured=measured, point=None, low=None, high=None, beyond="")
    sign = -1 if row["direction"] == BELOW else 1
    point, *limits = (sign * (row[name] - row["margin"]) for name in ("value", "ci_low", "ci_high"))
    low, high = sorted(limits)
    beyond = ("left " if low < -REACH else "") + ("right" if high > REACH else "")
    measured = fine_interval(row["value"], row["ci_low"], row["ci_high"])
    return Mark(**words, measured=measured, point=at(point), low=at(low), high=at(high), beyond=beyond.strip())


def at(distance: float) -> float:
    """Return the position of a distance from the margin; one beyond the axis stands at its end."""
    return round(WIDTH / 2 * (1 + max(-1.0, min(1.0, distance / REACH))), 1)
