"""The claims as the report lists them, and the paper's Table 1 with this study's numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import polars as pl

from workflow_scripts.lib.claims.averages import Measure, average, mean_curve
from workflow_scripts.lib.claims.curve_rules import SPARSE, TOLERANCE, Point, with_interval
from workflow_scripts.lib.claims.paper_claims import pruned
from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from workflow_scripts.lib.formatting import number
from workflow_scripts.lib.report.application_section import Tables, rows_of
from workflow_scripts.lib.report.paper_tables import comparison
from workflow_scripts.lib.report.tables import Cell, Column, Row, TableView, verdict, view

VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED)


@dataclass(frozen=True)
class Claims:
    """A count of verdicts, the claims with their verdicts, and the claims that share a test."""

    counted: str
    table: TableView
    tests: dict[str, list[str]]


@dataclass(frozen=True)
class ClaimsSection:
    """The claims, where they were judged, and Table 1."""

    claims: Claims | None
    table1: TableView


def claims_section(tables: Tables, confidence: str) -> ClaimsSection:
    """Build the section of every claim of the paper, and of its Table 1 with this study's numbers."""
    return ClaimsSection(judged_claims(rows_of(tables, "claims"), confidence), table1(tables))


def judged_claims(rows: Sequence[Row], confidence: str) -> Claims | None:
    """Tabulate the judged claims; return None where nothing was judged."""
    if not rows:
        return None
    tests: dict[str, list[str]] = {}
    for row in rows:
        tests.setdefault(row["test"], []).append(row["claim"].rstrip("."))
    verdicts = [row["verdict"] for row in rows]
    counted = ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS)
    return Claims(f"Of {len(rows)} claims: {counted}.", claim_table(rows, confidence), tests)


def claim_table(rows: Sequence[Row], confidence: str) -> TableView:
    """Tabulate one row for each claim, its evidence below it."""
    caption = (
        f"Intervals at {confidence}. The rows of `tables/claims.csv`; the last column names the rows of other tables "
        "that the evidence is taken from."
    )
    columns = [
        Column("The paper claims", lambda row: Cell(row["claim"], row["place"]), "head"),
        verdict("Verdict here"),
        Column("The paper prints", lambda row: row["printed"], "text"),
        Column("Source", lambda row: row["source"], "text"),
    ]
    return view(caption, columns, rows, notes=evidence, key=lambda row: f"claim-{row['key']}")


def evidence(row: Row) -> list[str]:
    """Note below a claim what this study measured."""
    return [f"Measured here: {row['evidence']}."]


def table1(tables: Tables) -> TableView:
    """Tabulate value and dopamine neurons side by side, averages over all runs and layers."""
    dopamine = curve(tables, "paragraph")
    both = curve(tables, "initial"), curve(tables, "final")
    lines = [
        [
            "Definition",
            "predict the chance that the answer will be correct",
            "follow how a paragraph changes that chance",
        ],
        [
            "Probe learns",
            "the value of a state, by its TD error",
            "the Monte-Carlo TD error of a paragraph, by squared error",
        ],
        ["Scored by", "AUC against the reward; chance 0.50", "Spearman correlation with the TD error; chance 0.00"],
        ["All neurons", before_and_after(both, at_full), at_full(dopamine)],
        ["The 1 % with the largest weights", before_and_after(both, at_sparse), at_sparse(dopamine)],
        ["1 % at random, mean", before_and_after(both, random_at_sparse), random_at_sparse(dopamine)],
        ["Application", confidence_words(tables), search_words(tables)],
    ]
    caption = "Averages over all runs and layers of this study, with the average of their limits as interval."
    titles = ("Property", "Value neurons", "Dopamine neurons")
    return comparison(caption, [(title, "text") for title in titles], lines)


def curve(tables: Tables, place: str) -> list[Point]:
    """Average the curves of a place; return an empty curve where none was measured."""
    curves = pruned(tables, place)
    return [point for point in mean_curve([c.points for c in curves]) if point.value is not None] if curves else []


def sparse(points: Sequence[Point]) -> Point | None:
    """Return the point at a prune ratio of 0.99."""
    return next((point for point in points if abs(point.prune_ratio - SPARSE[1]) < TOLERANCE), None)


def before_and_after(curves: tuple[list[Point], list[Point]], write: Callable[[Sequence[Point]], str]) -> str:
    """Write a number before the response and at its last token."""
    return f"{write(curves[0])}; at the last token {write(curves[1])}"


def at_full(points: Sequence[Point]) -> str:
    """Write the number with all inputs."""
    return with_interval(points[0]) if points and points[0].prune_ratio == 0 else "not measured"


def at_sparse(points: Sequence[Point]) -> str:
    """Write the number at a prune ratio of 0.99."""
    point = sparse(points)
    return "not measured" if point is None else with_interval(point)


def random_at_sparse(points: Sequence[Point]) -> str:
    """Write the mean of random selections at a prune ratio of 0.99."""
    point = sparse(points)
    return "not measured" if point is None else number(point.random_mean)


def mean_of(tables: Tables, name: str, method: str, column: str) -> Measure | None:
    """Average a column of Table 3 or 4 for one method; return None where it was not measured."""
    wanted = pl.col("method") == method, pl.col("model") != "all", pl.col(column).is_not_null()
    rows = tables[name].filter(*wanted).to_dicts() if name in tables and len(tables[name]) else []
    return average(rows, column) if rows else None


def confidence_words(tables: Tables) -> str:
    """Write the AUC of confidence from value neurons."""
    auc = mean_of(tables, "table3", "value_neurons_cv", "auc")
    return "confidence: not measured" if auc is None else f"confidence before the answer: AUC {auc}"


def search_words(tables: Tables) -> str:
    """Write the accuracy of search by dopamine neurons and of greedy decoding."""
    dopamine, greedy = (mean_of(tables, "table4", name, "accuracy") for name in ("dopamine", "greedy"))
    if dopamine is None:
        return "guided search: not measured"
    baseline = "" if greedy is None else f"; greedy decoding {greedy}"
    return f"guided search: accuracy {dopamine}{baseline}"
