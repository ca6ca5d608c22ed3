"""The section on the paper's figures: what it says of each, and what this study measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from workflow_scripts.lib.claims.curve_rules import PRINTED_RULE, Curve, judge_level, summarise
from workflow_scripts.lib.report.curves_page import FIGURE_PLACES, Judged, in_figure
from workflow_scripts.lib.report.tables import Cell, Column, Row, TableView, view

UNDRAWN = "No run of this study is drawn in this figure."


@dataclass(frozen=True)
class PaperSection:
    """The comparison, and the rule for levels that the paper prints."""

    table: TableView
    printed_rule: str


def paper_section(
    published: dict[str, Any], tables: dict[str, pl.DataFrame], config: dict[str, Any], curves: Sequence[Curve]
) -> PaperSection:
    """Compare what the paper states about its figures with what was measured, in the order of their numbers."""
    entries = [
        entry | {"ours": curve_sentences(entry, in_figure(entry["figure"], config, curves))}
        for entry in published["figures"]["entries"]
    ]
    if "claims" in tables:
        entries += [
            entry | {"ours": claim_sentences(entry, tables["claims"])} for entry in published["applications"]["figures"]
        ]
    rows = sorted(entries, key=lambda entry: int(entry["figure"].removeprefix("fig")))
    columns = [
        Column("Paper", lambda row: Cell(row["where"], row["setting"]), "text"),
        Column("Statement of the paper, and below it what this study measured", lambda row: row["says"], "text"),
    ]
    return PaperSection(view("", columns, rows, notes=measured), PRINTED_RULE)


def measured(row: Row) -> list[str]:
    """List what this study measured, one note for each run or claim."""
    return [f"Here: {line}" for line in row["ours"]] or [UNDRAWN]


def curve_sentences(entry: dict[str, Any], judged: Sequence[Judged]) -> list[str]:
    """Write the verdicts on the curves of a figure: one sentence for each run."""
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


def claim_sentences(entry: dict[str, Any], claims: pl.DataFrame) -> list[str]:
    """Write verdict and evidence of the claims behind a figure of the paper."""
    rows = {row["key"]: row for row in claims.to_dicts()}
    return [f"{rows[key]['verdict'].capitalize()}: {rows[key]['evidence']}." for key in entry["claims"] if key in rows]
