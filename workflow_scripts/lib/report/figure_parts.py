"""Parts that several figures share: the runs and layers of a figure, curves with bands, controls."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes

from workflow_scripts.lib.report import figure_style

Style = dict[str, Any]
NO_RUN = "the configuration names no run for this figure"


def runs_of(section: Mapping[str, Any]) -> list[str]:
    """List the runs of a figure."""
    return list(section.get("runs") or [])


def rows_of_run(table: pl.DataFrame, run: str) -> pl.DataFrame:
    """Select the rows of one run, `model/dataset`."""
    model, dataset = run.split("/", 1)
    return table.filter((pl.col("model") == model) & (pl.col("dataset") == dataset))


def layers_of(section: Mapping[str, Any], rows: pl.DataFrame) -> list[int]:
    """List the layers that the configuration names for a figure; all layers in the rows where it names none."""
    listed = section.get("layers")
    return list(listed) if listed is not None else sorted(rows["layer"].drop_nulls().unique().to_list())


def draw_band(axes: Axes, x: np.ndarray, low: np.ndarray, high: np.ndarray, style: Style) -> None:
    """Draw the interval or range of a curve: shaded, with thin edges."""
    axes.fill_between(x, low, high, color=style["color"], alpha=0.16, linewidth=0)
    for edge in (low, high):
        axes.plot(x, edge, color=style["color"], linestyle=style["linestyle"], linewidth=0.6, alpha=0.8)


def draw_curve(axes: Axes, x: np.ndarray, y: np.ndarray, style: Style, markersize: float = 3.2) -> None:
    """Draw the curve itself."""
    axes.plot(x, y, markersize=markersize, linewidth=1.5, zorder=4, **style)


def draw_pruned(axes: Axes, rows: pl.DataFrame, columns: tuple[str, str, str], style: Style) -> None:
    """Draw one curve over prune ratios with its band; `columns` hold its value, lower and upper limit."""
    value, low, high = columns
    band, known = rows.drop_nulls([low, high]), rows.drop_nulls(value)
    draw_band(axes, positions(band), band[low].to_numpy(), band[high].to_numpy(), style)
    draw_curve(axes, positions(known), known[value].to_numpy(), style)


def positions(rows: pl.DataFrame) -> np.ndarray:
    """Place the prune ratios of the rows on the axis."""
    return figure_style.kept_share(rows["prune_ratio"].to_list())


def draw_controls(axes: Axes, rows: pl.DataFrame, lines: Mapping[str, Style]) -> None:
    """Draw the band of random selections from lowest to highest, and the means of the columns of `lines`."""
    names: Sequence[str] = list(lines)
    pooled = rows.group_by("prune_ratio").agg(
        pl.col(names).mean(), pl.col("random_low").min(), pl.col("random_high").max()
    )
    pooled = pooled.sort("prune_ratio")
    band = pooled.drop_nulls(["random_low", "random_high"])
    low, high = band["random_low"].to_numpy(), band["random_high"].to_numpy()
    axes.fill_between(positions(band), low, high, zorder=0.5, **figure_style.BAND)
    for name, style in lines.items():
        known = pooled.drop_nulls(name)
        axes.plot(positions(known), known[name].to_numpy(), zorder=3, **style)
