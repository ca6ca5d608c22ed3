"""Describe the tables of a page: columns, cells, notes, and how wide a column must be for its texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workflow_scripts.lib.formatting import fine_interval, grouped, interval, number, p_value

Row = dict[str, Any]
Kind = Literal["head", "text", "number", "drawing"]
WRAPPED = 30
"""Letters from which a text may break into lines."""
FEW_LINES, LETTER_REM = 6, 0.43
"""Lines that the longest text of a column should take at most, and the mean width of a letter."""
NARROWEST, WIDEST, ROOM = 9.0, 34.0, 56.0
"""Limits of the least width of a column whose texts break into lines, and of the sum of these widths, in rem."""


@dataclass(frozen=True)
class Cell:
    """One cell: a text, set plainly, as code or as the badge of a verdict, small print below it, an anchor it leads to.

    The text of a drawing is an svg element.
    """

    text: str
    below: str = ""
    style: Literal["plain", "code", "verdict", "drawing"] = "plain"
    link: str = ""

    @property
    def length(self) -> int:
        """Letters of the text and the small print together; a badge does not break into lines, so it does not count."""
        return len(self.below) if self.style in ("verdict", "drawing") else len(self.text) + len(self.below)


@dataclass(frozen=True)
class Column:
    """One column: its title, how a row is written there, and its kind (numbers are set flush right)."""

    title: str
    write: Callable[[Row], str | Cell]
    kind: Kind = "number"


@dataclass(frozen=True)
class Line:
    """One row of cells, notes that span the table below it, and an anchor."""

    cells: list[Cell]
    notes: list[str] = field(default_factory=list)
    key: str = ""


@dataclass(frozen=True)
class Head:
    """The head of a column: title, kind, CSS class, least width in rem (0: that of its longest text)."""

    title: str
    kind: Kind
    look: str
    least: float


@dataclass(frozen=True)
class TableView:
    """One table of the page. In captions, `...` marks code. A compact one has low rows."""

    caption: str
    titles: list[tuple[str, Kind]]
    rows: list[Line]
    compact: bool = False

    @property
    def heads(self) -> list[Head]:
        """The heads of the columns, as wide as their texts need."""
        lengths = [max((line.cells[i].length for line in self.rows), default=0) for i in range(len(self.titles))]
        widths = [least_width(kind, length) for (_, kind), length in zip(self.titles, lengths, strict=True)]
        shrink = min(1.0, ROOM / max(sum(widths), 1.0))
        return [
            Head(title, kind, look(kind, width), round(width * shrink, 1))
            for (title, kind), width in zip(self.titles, widths, strict=True)
        ]


def least_width(kind: Kind, longest: int) -> float:
    """Return a column's least width in rem, given the letters of its longest text; 0 where no text may break."""
    if kind in ("number", "drawing") or longest <= WRAPPED:
        return 0.0
    return min(max(NARROWEST, longest / FEW_LINES * LETTER_REM), WIDEST)


def look(kind: Kind, width: float) -> str:
    """Choose the CSS class of a column: numbers, drawings, words on one line, or texts."""
    return {"number": "n", "drawing": "drawing"}.get(kind) or ("text" if width else "w")


def as_cell(written: str | Cell) -> Cell:
    """Make a cell; a text alone is plain."""
    return written if isinstance(written, Cell) else Cell(written)


def no_notes(_: Row) -> list[str]:
    """Return no note below a row."""
    return []


def no_key(_: Row) -> str:
    """Return no anchor at a row."""
    return ""


def view(
    caption: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    notes: Callable[[Row], list[str]] = no_notes,
    key: Callable[[Row], str] = no_key,
) -> TableView:
    """Set the rows under the columns."""
    titles = [(column.title, column.kind) for column in columns]
    lines = [Line([as_cell(column.write(row)) for column in columns], notes(row), key(row)) for row in rows]
    return TableView(caption, titles, lines)


def pairs(caption: str, titles: tuple[str, str], rows: Sequence[tuple[str, str]]) -> TableView:
    """Tabulate names and values."""
    lines = [Line([Cell(name), Cell(value)]) for name, value in rows]
    return TableView(caption, [(titles[0], "head"), (titles[1], "text")], lines)


def plain(name: str) -> Callable[[Row], str]:
    """Make a writer of values as they are, with spaces for underscores; a dash for None."""
    return lambda row: "–" if row[name] is None else str(row[name]).replace("_", " ")


def words(title: str, name: str) -> Column:
    """Build a column of words."""
    return Column(title, plain(name), "text")


def labelled(title: str, name: str, labels: Mapping[str, str]) -> Column:
    """Build a column of keys, written as the labels of a catalogue; a key without one is shown as it is."""
    return Column(title, lambda row: labels.get(row[name], str(row[name])), "text")


def exact(title: str, name: str) -> Column:
    """Build a column of names, exactly as they are; a dash for None."""
    return Column(title, lambda row: str(row[name]) if row[name] else "–", "text")


def run(title: str = "Run") -> Column:
    """Build the column of runs, model and data set as the configuration writes them."""
    return Column(title, run_name, "text")


def run_name(row: Row) -> str:
    """Write model and data set as the configuration does."""
    return f"{row['model']}/{row['dataset']}"


def verdict(title: str = "Verdict", name: str = "verdict") -> Column:
    """Build a column of verdicts, shown as badges."""
    return Column(title, lambda row: Cell(row[name], style="verdict"), "text")


def code(title: str, name: str) -> Column:
    """Build a column of paths or hashes; a dash for None."""
    return Column(title, lambda row: Cell(str(row[name]), style="code") if row[name] else "–", "text")


def ranged(title: str, name: str, low: str = "ci_low", high: str = "ci_high") -> Column:
    """Build a column of numbers with their intervals."""
    return Column(title, lambda row: written(row, name, low, high))


def written(row: Row, name: str, low: str, high: str) -> str:
    """Write as `0.71 [0.65, 0.77]`; a number without interval alone; a dash."""
    value = row[name]
    return number(value) if value is None or row[low] is None else interval(value, row[low], row[high])


def between(values: Sequence[Any], write: Callable[[Any], str]) -> str:
    """Write lowest and highest of several numbers, or one where they are written alike."""
    low, high = write(min(values)), write(max(values))
    return low if low == high else f"{low} to {high}"


def two(title: str, name: str) -> Column:
    """Build a column of numbers with two decimals."""
    return Column(title, lambda row: number(row[name]))


def whole(title: str, name: str) -> Column:
    """Build a column of whole numbers."""
    return Column(title, lambda row: grouped(row[name]))


def difference() -> Column:
    """Build the column of differences with their intervals."""
    return Column("Difference", lambda row: fine_interval(row["difference"], row["ci_low"], row["ci_high"]))


def p_column() -> Column:
    """Build the column of p-values."""
    return Column("p", lambda row: p_value(row["p_value"]))


def capital(text: str) -> str:
    """Capitalise the first letter of a text."""
    return text[:1].upper() + text[1:]


def reason(row: Row) -> list[str]:
    """Note why a row has no number, no interval or no verdict."""
    return [f"{capital(row['reason'])}."] if row["reason"] else []
