"""The claims as the report lists them, and the paper's Table 1 with this study's numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from workflow_scripts.lib.formatting import fine, fine_interval, number
from workflow_scripts.lib.report.application_section import Tables, rows_of
from workflow_scripts.lib.report.claims_picture import Picture, picture
from workflow_scripts.lib.report.paper_tables import comparison
from workflow_scripts.lib.report.tables import Cell, Column, Row, TableView, verdict, view

VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED)
INPUTS = {
    "all": "All neurons",
    "one percent, by importance": "The 1 % with the largest weights",
    "one percent, random": "1 % at random, mean",
}
"""Rows of Table 1, by the column `inputs` of its csv."""


@dataclass(frozen=True)
class Claims:
    """A count of verdicts, the picture of all claims, their table, and the claims that share a test."""

    counted: str
    picture: Picture
    table: TableView
    tests: dict[str, list[str]]


@dataclass(frozen=True)
class Registered:
    """The hash of a registration, and every deviation from it."""

    hash: str
    deviations: list[str]


@dataclass(frozen=True)
class ClaimsSection:
    """The claims, where they were judged, Table 1, and what was registered before, if anything was."""

    claims: Claims | None
    table1: TableView
    registered: Registered | None


def claims_section(tables: Tables, confidence: str, registered: Registered | None = None) -> ClaimsSection:
    """Build the section of every claim of the paper, and of its Table 1 with this study's numbers."""
    return ClaimsSection(judged_claims(rows_of(tables, "claims"), confidence), table1(tables), registered)


def judged_claims(rows: Sequence[Row], confidence: str) -> Claims | None:
    """Tabulate the judged claims; return None where nothing was judged."""
    if not rows:
        return None
    tests: dict[str, list[str]] = {}
    for row in rows:
        tests.setdefault(row["test"], []).append(row["claim"].rstrip("."))
    verdicts = [row["verdict"] for row in rows]
    counted = ", ".join(f"{verdicts.count(name)} {name}" for name in VERDICTS)
    return Claims(f"Of {len(rows)} claims: {counted}.", picture(rows), claim_table(rows, confidence), tests)


def claim_table(rows: Sequence[Row], confidence: str) -> TableView:
    """Tabulate one row for each claim: its number with the interval, the margin, and below them the evidence."""
    caption = (
        f"Intervals at {confidence}, over problems and over what was drawn at random. The rows of `tables/claims.csv`; "
        "the last column names the scores that the number is computed from."
    )
    columns = [
        Column("The paper claims", lambda row: Cell(row["claim"], row["place"]), "head"),
        verdict("Verdict here"),
        Column("Measured", lambda row: Cell(estimate(row), row["estimand"]), "text"),
        Column("Margin", lambda row: fine(row["margin"])),
        Column("The paper prints", lambda row: row["printed"], "text"),
        Column("Source", lambda row: row["source"], "text"),
    ]
    return view(caption, columns, rows, notes=evidence, key=lambda row: f"claim-{row['key']}")


def estimate(row: Row) -> str:
    """Write the estimand of a claim with its interval."""
    return "–" if row["value"] is None else fine_interval(row["value"], row["ci_low"], row["ci_high"])


def evidence(row: Row) -> list[str]:
    """Note below a claim what this study measured, on how many problems, and how many would decide it."""
    counted = f"{row['n']} problems" if row["n_rarer"] is None else f"{row['n']} problems, {row['n_rarer']} rarer"
    needed = f" Decided by {row['needed_n']:,} at this effect." if row["needed_n"] is not None else ""
    return [f"Measured here: {row['evidence']} ({counted}).{needed}"]


def table1(tables: Tables) -> TableView:
    """Tabulate value and dopamine neurons side by side, averages over all runs and layers."""
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
    ]
    for inputs, title in INPUTS.items():
        initial, final, dopamine = (level(tables, place, inputs) for place in ("initial", "final", "paragraph"))
        lines.append([title, f"{initial}; at the last token {final}", dopamine])
    lines.append(["Application", confidence_words(tables), search_words(tables)])
    caption = "Averages over all runs and layers of this study, resampled together: the rows of `tables/table1.csv`."
    titles = ("Property", "Value neurons", "Dopamine neurons")
    return comparison(caption, [(title, "text") for title in titles], lines)


def level(tables: Tables, place: str, inputs: str) -> str:
    """Write the level of probes at a place with its interval."""
    rows = [row for row in rows_of(tables, "table1") if (row["place"], row["inputs"]) == (place, inputs)]
    if not rows or rows[0]["value"] is None:
        return "not measured"
    return fine_interval(rows[0]["value"], rows[0]["ci_low"], rows[0]["ci_high"])


def confidence_words(tables: Tables) -> str:
    """Write the AUC of confidence from value neurons: its mean over runs."""
    rows = [row for row in rows_of(tables, "table3") if (row["model"], row["method"]) == ("all", "value_neurons_cv")]
    if not rows or rows[0]["auc"] is None:
        return "confidence: not measured"
    auc = fine_interval(rows[0]["auc"], rows[0]["ci_low"], rows[0]["ci_high"])
    return f"confidence before the answer: AUC {auc}"


def search_words(tables: Tables) -> str:
    """Write the accuracy of search by dopamine neurons and of greedy decoding, means over runs and seeds."""
    dopamine, greedy = (accuracy(tables, name) for name in ("dopamine", "greedy"))
    if dopamine is None:
        return "guided search: not measured"
    baseline = "" if greedy is None else f"; greedy decoding {number(greedy)}"
    return f"guided search: accuracy {number(dopamine)}{baseline}"


def accuracy(tables: Tables, method: str) -> float | None:
    """Average the accuracy of one method of Table 4; return None where it was not measured."""
    known = [row["accuracy"] for row in rows_of(tables, "table4") if row["method"] == method]
    return float(np.mean(known)) if known and None not in known else None
