"""Tables that the paper prints in numbers, with this study's numbers in the same columns."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from workflow_scripts.lib.neurons.catalogue import SELECTIONS
from workflow_scripts.lib.report.tables import Cell, Kind, Line, Row, TableView, capital

PLACE = ["model", "dataset", "layer"]


def comparison(caption: str, titles: Sequence[tuple[str, Kind]], rows: Sequence[Sequence[str]]) -> TableView:
    """Set rows of texts below their titles."""
    return TableView(caption, list(titles), [Line([Cell(text) for text in row]) for row in rows])


def signed(value: float) -> str:
    """Write one decimal with its sign, a true minus."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def paper_table(entry: dict[str, Any], table: pl.DataFrame) -> TableView:
    """Build Table 2 or 5 of the paper, below it this study's: accuracy in percent, change in percentage points."""
    names = list(next(iter(entry["layers"].values())))
    rows = [
        ["Paper", layer, *(f"{accuracy:.1f} ({signed(change)})" for accuracy, change in cells.values())]
        for layer, cells in entry["layers"].items()
    ]
    for (model, dataset, layer), masked in table.group_by(PLACE, maintain_order=True):
        by_selection = masked.group_by("selection").agg(pl.col("accuracy", "change").mean() * 100)
        means = {name: f"{accuracy:.1f} ({signed(change)})" for name, accuracy, change in by_selection.rows()}
        place = "mean" if layer is None else str(layer)
        rows.append([f"{model}/{dataset}", place, *(means.get(name, "–") for name in names)])
    caption = f"{entry['where']}: {entry['setting']}. The paper states: {entry['says']}"
    titles: list[tuple[str, Kind]] = [("Source", "text"), ("Layer", "number")]
    titles += [(capital(SELECTIONS[name]), "number") for name in names]
    return comparison(caption, titles, rows)


def runs_in(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """List model and data set of the rows, each once."""
    return list(dict.fromkeys((row["model"], row["dataset"]) for row in rows))
