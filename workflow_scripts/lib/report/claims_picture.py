"""All claims in one picture: how far each number lies beyond its margin, on one axis, on the side of the claim."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from markupsafe import escape

from workflow_scripts.lib.claims.decide import BELOW
from workflow_scripts.lib.formatting import fine, fine_interval
from workflow_scripts.lib.report.tables import Cell, Column, Row, TableView, verdict, view

REACH = 0.3
"""Distance from the margin at which the axis ends; AUC, correlation, accuracy and overlap all have a range of 1."""
WIDTH = 240
"""Width of the axis in its own units; the margin is in the middle."""


@dataclass(frozen=True)
class Mark:
    """Where point and limits of a claim stand on the axis, from 0 to `WIDTH`, and its number in words.

    Positions are None where there is no interval; `beyond` says on which sides a limit lies off the axis.
    """

    measured: str
    point: float | None
    low: float | None
    high: float | None
    beyond: str


def picture(rows: Sequence[Row]) -> TableView:
    """Build the picture from the rows of `claims.csv`."""
    caption = (
        "How far each number lies beyond its margin, with its interval: right of the line is the side of the claim. "
        f"The axis ends {REACH} from the margin; an arrow says that an interval goes on."
    )
    columns = [
        Column("The paper claims", lambda row: Cell(row["claim"], link=f"claim-{row['key']}"), "head"),
        verdict(),
        Column("against ◂ margin ▸ for", lambda row: Cell(drawing(row), style="drawing"), "drawing"),
        Column("Measured", lambda row: mark(row).measured),
    ]
    return replace(view(caption, columns, rows), compact=True)


def drawing(row: Row) -> str:
    """Draw one claim: the margin as a line, the interval, and arrows where it goes on."""
    found, middle = mark(row), WIDTH / 2
    parts = [f'<line class="margin" x1="{middle}" y1="0" x2="{middle}" y2="18"/>']
    if found.point is not None:
        interval = [f'<line x1="{found.low}" y1="9" x2="{found.high}" y2="9"/>']
        interval += ['<path d="M6 4 L0 9 L6 14"/>'] if "left" in found.beyond else []
        interval += [f'<path d="M{WIDTH - 6} 4 L{WIDTH} 9 L{WIDTH - 6} 14"/>'] if "right" in found.beyond else []
        circle = f'<circle cx="{found.point}" cy="9" r="3.5"/>'
        parts.append(f'<g class="{escape(row["verdict"])}">{"".join(interval)}{circle}</g>')
    label = escape(found.measured)
    return f'<svg viewBox="0 0 {WIDTH} 18" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def mark(row: Row) -> Mark:
    """Place one claim on the axis: to the right of the middle is the claim's side of the margin."""
    if row["value"] is None or row["ci_low"] is None:
        measured = "not measured" if row["value"] is None else f"{fine(row['value'])}, no interval"
        return Mark(measured=measured, point=None, low=None, high=None, beyond="")
    sign = -1 if row["direction"] == BELOW else 1
    point, *limits = (sign * (row[name] - row["margin"]) for name in ("value", "ci_low", "ci_high"))
    low, high = sorted(limits)
    beyond = ("left " if low < -REACH else "") + ("right" if high > REACH else "")
    measured = fine_interval(row["value"], row["ci_low"], row["ci_high"])
    return Mark(measured=measured, point=at(point), low=at(low), high=at(high), beyond=beyond.strip())


def at(distance: float) -> float:
    """Return the position of a distance from the margin; one beyond the axis stands at its end."""
    return round(WIDTH / 2 * (1 + max(-1.0, min(1.0, distance / REACH))), 1)
