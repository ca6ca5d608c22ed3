"""The section on guided search: Table 4, the paper's Table 4, and paired differences."""

from collections.abc import Sequence
from typing import Any

from workflow_scripts.lib.report.application_section import Section, Tables, rows_of, section
from workflow_scripts.lib.report.paper_tables import comparison, runs_in
from workflow_scripts.lib.report.tables import (
    Column,
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
    view,
    whole,
)
from workflow_scripts.lib.search.methods import LABELS

LEAD = (
    "Whether choosing paragraphs by dopamine neurons solves more problems than other uses of the same number of tokens."
)
TABLE4 = (
    "Answers to validation problems (the paper’s Table 4). Tokens count everything generated, discarded "
    "candidates included; “best of n” and “majority” may spend on each problem what the dopamine search "
    "spent on it. Seed “mean”: the mean over seeds, with an interval over problems, seeds averaged within each. "
    "table4.csv also holds the seconds."
)
CONTRASTS = "Accuracy of the dopamine search less another method’s, seeds averaged within each problem."


def search_section(tables: Tables, published: dict[str, Any]) -> Section:
    """Build the section on search: Table 4, the paper's Table 4, and paired differences."""
    measured = rows_of(tables, "table4")
    columns = [run(), labelled("Method", "method", LABELS), seed(), ranged("Accuracy", "accuracy")]
    columns += [whole("Problems", "n"), whole("Tokens per problem", "tokens")]
    contrasts = [
        run(),
        labelled("Method", "method", LABELS),
        labelled("Against", "against", LABELS),
        difference(),
        p_column(),
    ]
    contrasts += [two("Tokens, ratio", "tokens_ratio")]
    listed = [
        view(TABLE4, columns, measured),
        *([printed_table(measured, published["table4"])] if measured else []),
        view(CONTRASTS, contrasts, rows_of(tables, "search_contrasts"), notes=reason),
    ]
    return section("search", "Guided search", LEAD, [], listed, "No search was run in this study.")


def seed() -> Column:
    """Build the column of seeds, `mean` where the row is one over them."""
    return Column("Seed", lambda row: "mean" if row["seed"] is None else str(row["seed"]), "text")


def printed_table(measured: Sequence[Row], printed: dict[str, Any]) -> TableView:
    """Tabulate the paper's Table 4 and this study's accuracies, the mean over seeds, in percent with intervals."""
    names = printed["columns"]
    rows = [["Paper", *(f"{value:.1f}" for value in printed["accuracy"])]]
    for place in runs_in(measured):
        means = {
            row["method"]: row for row in measured if (row["model"], row["dataset"], row["seed"]) == (*place, None)
        }
        rows.append([f"{place[0]}/{place[1]}", *(in_percent(means.get(name)) for name in names)])
    titles: list[tuple[str, Kind]] = [("Source", "text"), *((LABELS[name], "number") for name in names)]
    return comparison(f"{printed['where']}: {printed['setting']}. {printed['note']}", titles, rows)


def in_percent(row: Row | None) -> str:
    """Write an accuracy in percent with its interval, or a dash."""
    if row is None or row["accuracy"] is None:
        return "–"
    numbers = [f"{100 * row[name]:.1f}" for name in ("accuracy", "ci_low", "ci_high") if row[name] is not None]
    return numbers[0] if len(numbers) < 3 else f"{numbers[0]} [{numbers[1]}, {numbers[2]}]"
