"""The figures on pruning with what they draw in words, and an excerpt of the curves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.lib.claims.scores import FULL, SPARSE
from workflow_scripts.lib.formatting import number
from workflow_scripts.lib.report.curves import METRICS, PLACES, Curve, by_run
from workflow_scripts.lib.report.parts import FigureView, caption_of, data_uri
from workflow_scripts.lib.report.tables import Column, Row, TableView, between, view

FIGURE_PLACES = {
    **dict.fromkeys(("fig1", "fig5", "fig6", "fig7"), "initial"),
    "fig11": "final",
    "fig4": "paragraph",
}
SHOWN_RATIOS = (FULL, 0.5, 0.9, SPARSE)
"""Prune ratios of the excerpt."""


@dataclass(frozen=True)
class ExcerptSection:
    """The names of the full tables, and an excerpt of the curves for each place."""

    names: list[str]
    tables: list[TableView]


def in_figure(figure: str, config: dict[str, Any], curves: Sequence[Curve]) -> list[Curve]:
    """Choose the curves that a figure draws, and no others; no list of layers means all."""
    section = config.get("figures", {}).get(figure, {})
    runs, layers, place = section.get("runs") or [], section.get("layers"), FIGURE_PLACES[figure]
    return [c for c in curves if c.place == place and c.run in runs and (layers is None or c.layer in layers)]


def pruning_figures(
    paths: Sequence[Path], captions: dict[str, Path], config: dict[str, Any], curves: Sequence[Curve]
) -> list[FigureView]:
    """List the figures on pruning, in the order given."""
    return [figure_view(path, captions, config, curves) for path in paths if path.stem in FIGURE_PLACES]


def figure_view(path: Path, captions: dict[str, Path], config: dict[str, Any], curves: Sequence[Curve]) -> FigureView:
    """Build a figure with its caption, a text alternative, and what it draws in words."""
    title, caption = caption_of(path.stem, captions)
    lines = [f"{run}: {words(drawn)}." for run, drawn in by_run(in_figure(path.stem, config, curves)).items()]
    shown = " ".join(lines) or "No curve is shown."
    metric = METRICS[FIGURE_PLACES[path.stem]]
    alt = f"{title}. Line charts of the {metric} against the prune ratio. {shown} The tables below hold the numbers."
    return FigureView(path.stem, title, caption, alt, data_uri(path), lines)


def words(curves: Sequence[Curve]) -> str:
    """Write the levels of one run's curves at either end: of one layer with the interval, else lowest and highest."""
    metric = METRICS[curves[0].place]
    if not any(curve.at(FULL) for curve in curves):
        reasons = dict.fromkeys(curve.why_missing or "no number in the table" for curve in curves)
        return f"no {metric}: {'; '.join(reasons)}"
    ends = {"with all inputs": FULL, f"at prune ratio {SPARSE:g}": SPARSE}
    told = [f"{levels(curves, ratio)} {where}" for where, ratio in ends.items() if any(c.at(ratio) for c in curves)]
    where = f"layer {curves[0].layer}" if len(curves) == 1 else f"{len(curves)} layers"
    ceiling = curves[0].noise_ceiling
    bound = [] if ceiling is None else [f"noise ceiling {number(ceiling)}"]
    return f"{metric} of {where}: {', '.join([*told, *bound])}"


def levels(curves: Sequence[Curve], ratio: float) -> str:
    """Write one level with its interval, or the lowest and the highest of several."""
    points = [point for curve in curves if (point := curve.at(ratio)) is not None]
    if len(points) == 1:
        return str(points[0])
    return between([point.value for point in points], number)


def excerpt_section(curves: Sequence[Curve], names: list[str], confidence: str) -> ExcerptSection:
    """Tabulate for each place one row per curve, with some prune ratios in columns."""
    tables = []
    for place, name in PLACES.items():
        groups = by_run([curve for curve in curves if curve.place == place])
        rows = [{"run": run, "curve": curve} for run, members in groups.items() for curve in members]
        caption = (
            f"{name}: {METRICS[place]} at some prune ratios, mean over seeds with its {confidence} interval over "
            "problems."
        )
        if rows:
            tables.append(view(caption, excerpt_columns(place), rows, notes=missing))
    return ExcerptSection(names, tables)


def excerpt_columns(place: str) -> list[Column]:
    """Build the columns: run, layer, the shown ratios and the controls."""
    columns = [Column("Run", lambda row: row["run"], "text"), Column("Layer", lambda row: str(row["curve"].layer))]
    columns += map(ratio_column, SHOWN_RATIOS)
    columns += [Column("Random inputs, last ratio", lambda row: number(row["curve"].points[-1].random_mean))]
    columns += [Column("Shuffled labels, all inputs", lambda row: number(row["curve"].points[0].shuffled))]
    ceiling = Column("Noise ceiling", lambda row: number(row["curve"].noise_ceiling))
    return [*columns, ceiling] if place == "paragraph" else columns


def ratio_column(ratio: float) -> Column:
    """Build the column of the curve at one prune ratio."""
    return Column(f"at {ratio:g}", lambda row: str(row["curve"].at(ratio) or "–"))


def missing(row: Row) -> list[str]:
    """Say why a curve has no number."""
    reason = row["curve"].why_missing
    return [f"No number: {reason}."] if reason else []
