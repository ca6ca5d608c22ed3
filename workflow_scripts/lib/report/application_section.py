"""What the sections on transfer, confidence, search and trajectories share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from workflow_scripts.lib.report.parts import FigureView, shown_figure
from workflow_scripts.lib.report.tables import Row, TableView

Tables = dict[str, pl.DataFrame]


@dataclass(frozen=True)
class Section:
    """A section of the page: anchor, title, question, figures, tables, and why there is nothing to show."""

    key: str
    title: str
    lead: str
    figures: list[FigureView]
    tables: list[TableView]
    nothing: str | None = None


@dataclass(frozen=True)
class Figures:
    """The figures of the study, and their captions."""

    paths: dict[str, Path]
    captions: dict[str, Path]

    def named(self, *names: str) -> list[FigureView]:
        """Choose those of the figures that the study drew."""
        return [shown_figure(self.paths[name], self.captions) for name in names if name in self.paths]


def section(
    key: str, title: str, lead: str, figures: list[FigureView], tables: Sequence[TableView], nothing: str
) -> Section:
    """Build a section of figures, and of tables that have rows; without any, of the reason alone."""
    shown = [table for table in tables if table.rows]
    return Section(key, title, lead, figures if shown else [], shown, None if shown else nothing)


def rows_of(tables: Tables, name: str) -> list[Row]:
    """Return the rows of a table; none where the study did not make it."""
    return tables[name].to_dicts() if name in tables else []
