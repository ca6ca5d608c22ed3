"""The section on the paper's figures: what it says of each, and the verdicts on the claims behind it."""

from typing import Any

import polars as pl

from workflow_scripts.lib.report.tables import Cell, Column, Row, TableView, view

UNJUDGED = "The claims behind this figure were not judged."


def figures_of(published: dict[str, Any]) -> list[dict[str, Any]]:
    """List what the paper says about its figures, in the order of their numbers."""
    entries = [*published["figures"]["entries"], *published["applications"]["figures"]]
    return sorted(entries, key=lambda entry: int(entry["figure"].removeprefix("fig")))


def paper_table(published: dict[str, Any], tables: dict[str, pl.DataFrame]) -> TableView:
    """Compare what the paper states about its figures with what was measured."""
    judged = {row["key"]: row for row in tables["claims"].to_dicts()} if "claims" in tables else {}
    columns = [
        Column("Paper", lambda row: Cell(row["where"], row["setting"]), "text"),
        Column("Statement of the paper, and below it what this study measured", lambda row: row["says"], "text"),
    ]

    def measured(row: Row) -> list[str]:
        known = [judged[key] for key in row["claims"] if key in judged]
        return [f"Here: {one['verdict']}: {one['evidence']}." for one in known] or [UNJUDGED]

    return view("", columns, figures_of(published), notes=measured)
