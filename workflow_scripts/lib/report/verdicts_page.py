"""The sections on the verdicts by curve: a summary, every verdict with its numbers, an excerpt of the curves."""

from collections.abc import Sequence
from dataclasses import dataclass

from workflow_scripts.lib.claims.curve_rules import RULES, Curve, Point, with_interval
from workflow_scripts.lib.claims.verdicts import NOT_JUDGED, SUPPORTED, VERDICTS, Finding, Rule
from workflow_scripts.lib.formatting import number
from workflow_scripts.lib.report.curves_page import METRICS, PLACES, Judged
from workflow_scripts.lib.report.tables import Cell, Column, Row, TableView, view

SHOWN_RATIOS = (0.0, 0.5, 0.9, 0.99)
"""Prune ratios of the excerpt."""


@dataclass(frozen=True)
class Summary:
    """The counts of verdicts, a titled table of sentences for each place, and what chance alone would give."""

    tally: TableView
    tables: list[tuple[str, TableView]]
    chance_note: str


@dataclass(frozen=True)
class VerdictsSection:
    """The rules, and a titled table of verdicts for each run and place."""

    rules: list[Rule]
    tables: list[tuple[str, TableView]]


@dataclass(frozen=True)
class ExcerptSection:
    """The names of the full tables, and an excerpt of the curves for each place."""

    names: list[str]
    tables: list[TableView]


def summary(judged: Sequence[Judged], confidence: float) -> Summary | None:
    """Summarise what the data show; return None where no probe was evaluated."""
    if not judged:
        return None
    grouped = {name: [item for item in judged if item.place == place] for place, name in PLACES.items()}
    tables = [(name, sentence_table(items)) for name, items in grouped.items() if items]
    return Summary(tally(judged), tables, chance_note(judged, confidence))


def sentence_table(items: Sequence[Judged]) -> TableView:
    """Tabulate for each run a sentence on each rule, and below it the highest layer."""
    rows = [{"run": item.run, "best": [item.best] if item.best else [], **item.sentences} for item in items]
    columns = [Column("Run", lambda row: row["run"], "head")]
    columns += [sentence(rule.short, claim) for claim, rule in RULES.items()]
    return view("", columns, rows, notes=lambda row: row["best"])


def sentence(title: str, name: str) -> Column:
    """Build a column of sentences."""
    return Column(title, lambda row: str(row[name]), "text")


def tally(judged: Sequence[Judged]) -> TableView:
    """Count how often each verdict was given on each claim at each place, over runs and layers."""
    rows: list[Row] = []
    for place, name in PLACES.items():
        items = [item for item in judged if item.place == place]
        for claim, rule in RULES.items():
            verdicts = [finding.verdict for item in items for finding in item.verdicts[claim].values()]
            if verdicts:
                rows.append({"place": name, "claim": rule.short} | {v: str(verdicts.count(v)) for v in VERDICTS})
    columns = [sentence("Measured", "place"), sentence("Claim", "claim"), *map(tally_column, VERDICTS)]
    return view("Verdicts counted over runs and layers.", columns, rows)


def tally_column(verdict: str) -> Column:
    """Build the column of how often one verdict was given."""
    return Column(verdict, lambda row: row[verdict])


def chance_note(judged: Sequence[Judged], confidence: float) -> str:
    """Say how many verdicts of the first claim chance alone would make `supported`."""
    verdicts = [finding.verdict for item in judged for finding in item.verdicts["informative"].values()]
    decided = [verdict for verdict in verdicts if verdict != NOT_JUDGED]
    expected = len(decided) * (1 - confidence) / 2
    return (
        f"{len(decided)} curves were compared with chance at {100 * confidence:g} % confidence, without correction "
        f"for multiple comparisons; if there were no effect, about {expected:.1f} of them would still be expected to "
        f"come out as supported. {decided.count(SUPPORTED)} did."
    )


def verdicts_section(judged: Sequence[Judged]) -> VerdictsSection:
    """Collect the rules, and every verdict by layer."""
    return VerdictsSection(
        list(RULES.values()), [(f"{PLACES[item.place]}: {item.run}", layer_table(item)) for item in judged]
    )


def layer_table(item: Judged) -> TableView:
    """Tabulate one row for each layer, a verdict with its evidence for each rule."""
    rows = [
        {"layer": str(layer)} | {claim: by_layer[layer] for claim, by_layer in item.verdicts.items()}
        for layer in item.layers
    ]
    columns = [Column("Layer", lambda row: row["layer"], "head")]
    return view("", [*columns, *(finding_column(rule.short, claim) for claim, rule in RULES.items())], rows)


def finding_column(title: str, claim: str) -> Column:
    """Build a column of verdicts, with the evidence below each."""

    def write(row: Row) -> Cell:
        finding: Finding = row[claim]
        return Cell(finding.verdict, finding.evidence, "verdict")

    return Column(title, write, "text")


def excerpt_section(judged: Sequence[Judged], names: list[str], confidence: str) -> ExcerptSection:
    """Tabulate for each place one row per curve, with some prune ratios in columns."""
    tables = []
    for place, name in PLACES.items():
        rows = [{"run": item.run, "curve": curve} for item in judged if item.place == place for curve in item.curves]
        caption = (
            f"{name}: {METRICS[place]} at some prune ratios, mean over seeds with its {confidence} interval over "
            "problems."
        )
        if rows:
            tables.append(view(caption, excerpt_columns(place), rows, notes=missing))
    return ExcerptSection(names, tables)


def excerpt_columns(place: str) -> list[Column]:
    """Build the columns: run, layer, the shown ratios and the controls."""
    columns = [sentence("Run", "run"), Column("Layer", lambda row: str(row["curve"].layer))]
    columns += map(ratio_column, SHOWN_RATIOS)
    columns += [Column("Random inputs, last ratio", lambda row: number(row["curve"].points[-1].random_mean))]
    columns += [Column("Shuffled labels, all inputs", lambda row: number(row["curve"].points[0].shuffled))]
    ceiling = Column("Noise ceiling", lambda row: number(row["curve"].noise_ceiling))
    return [*columns, ceiling] if place == "paragraph" else columns


def ratio_column(ratio: float) -> Column:
    """Build the column of the curve at one prune ratio."""

    def write(row: Row) -> str:
        points: dict[float, Point] = {point.prune_ratio: point for point in row["curve"].points}
        known = ratio in points and points[ratio].value is not None
        return with_interval(points[ratio]) if known else "–"

    return Column(f"at {ratio:g}", write)


def missing(row: Row) -> list[str]:
    """Say why a curve has no number."""
    curve: Curve = row["curve"]
    reasons = [point.reason for point in curve.points if point.value is None and point.reason]
    return [f"No number: {reasons[0]}."] if reasons else []
