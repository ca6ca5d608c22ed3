"""The claims as the report lists them, and the paper's Table 1 with this study's numbers."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from workflow_scripts.lib.claims.averages import Measure, average, mean_curve
from workflow_scripts.lib.claims.curve_rules import SPARSE, TOLERANCE, Point, with_interval
from workflow_scripts.lib.claims.paper_claims import pruned
from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from workflow_scripts.lib.formatting import number
from workflow_scripts.lib.report.applications_page import Tables, rows_of
from workflow_scripts.lib.report.tables import TableView

VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED)


def claims_view(tables: Tables) -> dict[str, Any] | None:
    """Rows, the claims that share a test, and a count of verdicts; None where nothing was judged."""
    rows = rows_of(tables, "claims")
    if not rows:
        return None
    tests: dict[str, list[str]] = {}
    for row in rows:
        tests.setdefault(row["test"], []).append(row["claim"].rstrip("."))
    given = [row["verdict"] for row in rows]
    counted = ", ".join(f"{given.count(verdict)} {verdict}" for verdict in VERDICTS)
    return {"rows": rows, "tests": tests, "counted": f"Of {len(rows)} claims: {counted}."}


def table1(tables: Tables) -> TableView:
    """Value and dopamine neurons side by side, averages over all runs and layers."""
    value, dopamine = curve(tables, "initial"), curve(tables, "paragraph")
    final = curve(tables, "final")
    lines = [
        [
            "Definition",
            "predict the chance that the answer will be right",
            "follow how a paragraph changes that chance",
        ],
        [
            "Probe learns",
            "the value of a state, by its TD error",
            "the Monte-Carlo TD error of a paragraph, by squared error",
        ],
        ["Scored by", "AUC against the reward; chance 0.50", "Spearman correlation with the TD error; chance 0.00"],
        ["All neurons", f"{at(value, first)}; at the last token {at(final, first)}", at(dopamine, first)],
        [
            "The 1 % with the largest weights",
            f"{at(value, sparse)}; at the last token {at(final, sparse)}",
            at(dopamine, sparse),
        ],
        ["1 % at random, mean", f"{by_chance(value)}; at the last token {by_chance(final)}", by_chance(dopamine)],
        ["Application", confidence_words(tables), search_words(tables)],
    ]
    caption = "Averages over all runs and layers of this study, with the average of their limits as interval."
    return TableView(caption, [("", False), ("Value neurons", False), ("Dopamine neurons", False)], lines)


def curve(tables: Tables, place: str) -> list[Point]:
    """The average curve of a place; empty where none was measured."""
    curves = pruned(tables, place)
    return [point for point in mean_curve([c.points for c in curves]) if point.value is not None] if curves else []


def first(points: Sequence[Point]) -> Point | None:
    """The point with all inputs."""
    return points[0] if points and points[0].prune_ratio == 0 else None


def sparse(points: Sequence[Point]) -> Point | None:
    """The point at a prune ratio of 0.99."""
    return next((point for point in points if abs(point.prune_ratio - SPARSE[1]) < TOLERANCE), None)


def at(points: Sequence[Point], pick: Callable[[Sequence[Point]], Point | None]) -> str:
    """The number at one point of a curve."""
    point = pick(points)
    return "not measured" if point is None else with_interval(point)


def by_chance(points: Sequence[Point]) -> str:
    """What inputs kept at random give at a prune ratio of 0.99."""
    point = sparse(points)
    return "not measured" if point is None else number(point.random_mean)


def mean_of(tables: Tables, name: str, method: str, column: str) -> Measure | None:
    """The average of a column of Table 3 or 4 for one method; None where it was not measured."""
    wanted = pl.col("method") == method, pl.col("model") != "all", pl.col(column).is_not_null()
    rows = tables[name].filter(*wanted).to_dicts() if name in tables and len(tables[name]) else []
    return average(rows, column) if rows else None


def confidence_words(tables: Tables) -> str:
    """AUC of confidence from value neurons."""
    found = mean_of(tables, "table3", "value_neurons_cv", "auc")
    return "confidence: not measured" if found is None else f"confidence before the answer: AUC {found}"


def search_words(tables: Tables) -> str:
    """Accuracy of search by dopamine neurons beside greedy decoding."""
    ours, greedy = (mean_of(tables, "table4", name, "accuracy") for name in ("dopamine", "greedy"))
    if ours is None:
        return "guided search: not measured"
    beside = "" if greedy is None else f"; greedy decoding {greedy}"
    return f"guided search: accuracy {ours}{beside}"


def beside_claims(entry: dict[str, Any], claims: pl.DataFrame) -> list[str]:
    """What the claims behind a figure of the paper came to."""
    rows = {row["key"]: row for row in claims.to_dicts()}
    return [f"{rows[key]['verdict'].capitalize()}: {rows[key]['evidence']}." for key in entry["claims"] if key in rows]
