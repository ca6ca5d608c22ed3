"""The section on guided search: Table 4, the paper's Table 4, and paired differences."""

from collections.abc import Sequence
from typing import Any

from workflow_scripts.lib.report.application_section import Section, Tables, rows_of, section
from workflow_scripts.lib.report.paper_tables import comparison, runs_in
from workflow_scripts.lib.report.tables import (
    Kind,
    Row,
    TableView,
    difference,
    labelled,
    p_column,
    ranged,
    reason,
    run,
    two,
    verdict,
    view,
    whole,
    words,
)
from workflow_scripts.lib.search.methods import LABELS

LEAD = (
    "Whether choosing paragraphs by dopamine neurons solves more problems than other uses of the same number of tokens."
)
TABLE4 = (
    "Answers to validation problems (the paper’s Table 4). Tokens count everything generated, discarded "
    "candidates included; “best of n” and “majority” may spend on each problem what the dopamine search "
    "spent on it. table4.csv also holds the seconds."
)
CONTRASTS = "Accuracy of the dopamine search less another method’s, seeds averaged within each problem."


def search_section(tables: Tables, published: dict[str, Any]) -> Section:
    """Build the section on search: Table 4, the paper's Table 4, and paired differences."""
    measured = rows_of(tables, "table4")
    columns = [run(), labelled("Method", "method", LABELS), words("Seed", "seed"), ranged("Accuracy", "accuracy")]
    columns += [whole("Problems", "n"), whole("Tokens per problem", "tokens")]
    contrasts = [
        run(),
        labelled("Method", "method", LABELS),
        labelled("Against", "against", LABELS),
        difference(),
        p_column(),
    ]
    contrasts += [two("Tokens, ratio", "tokens_ratio"), verdict()]
    listed = [
        view(TABLE4, columns, measured),
        *([printed_table(measured, published["table4"])] if measured else []),
        view(CONTRASTS, contrasts, rows_of(tables, "search_contrasts"), notes=reason),
    ]
    return section("search", "Guided search", LEAD, [], listed, "No search was run in this study.")


def printed_table(measured: Sequence[Row], printed: dict[str, Any]) -> TableView:
    """Tabulate the paper's Table 4 and this study's accuracies, the mean over seeds, in percent."""
    names = printed["columns"]
    rows = [["Paper", *(f"{value:.1f}" for value in printed["accuracy"])]]
    for place in runs_in(measured):
        rows_here = [row for row in measured if (row["model"], row["dataset"]) == place]
        rows.append([f"{place[0]}/{place[1]}", *(mean_accuracy(rows_here, name) for name in names)])
    titles: list[tuple[str, Kind]] = [("Source", "text"), *((LABELS[name], "number") for name in names)]
    return comparison(f"{printed['where']}: {printed['setting']}. {printed['note']}", titles, rows)


def mean_accuracy(rows: Sequence[Row], name: str) -> str:
    """Average the accuracy of a method over seeds, in percent."""
    accuracies = [row["accuracy"] for row in rows if row["method"] == name and row["accuracy"] is not None]
    return f"{100 * sum(accuracies) / len(accuracies):.1f}" if accuracies else "–"
