"""Tables as the report shows them: titles, cells in words, which columns hold numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """One column: its title, how a row is written there, and whether that is a number (set flush right)."""

    title: str
    write: Callable[[Row], str]
    number: bool = True


@dataclass(frozen=True)
class TableView:
    """One table of the page. A cell of the last column may be a verdict, shown as a badge."""

    caption: str
    head: list[tuple[str, bool]]
    rows: list[list[str]]


def plain(name: str) -> Callable[[Row], str]:
    """A column's value as it is, with spaces for underscores; a dash for nothing."""
    return lambda row: "–" if row[name] is None else str(row[name]).replace("_", " ")


def words(title: str, name: str) -> Column:
    """A column of words."""
    return Column(title, plain(name), number=False)


def run(title: str = "Run") -> Column:
    """Model and data set as the configuration writes them."""
    return Column(title, lambda row: f"{row['model']}/{row['dataset']}", number=False)


def view(caption: str, columns: Sequence[Column], rows: Sequence[Row]) -> TableView:
    """The rows under the columns."""
    head = [(column.title, column.number) for column in columns]
    return TableView(caption, head, [[column.write(row) for column in columns] for row in rows])
