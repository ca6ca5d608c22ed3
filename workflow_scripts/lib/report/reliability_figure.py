"""The reliability diagram: share of correct answers against the calibrated probability of one."""

import itertools
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from workflow_scripts.lib.confidence.methods import METHODS
from workflow_scripts.lib.report import figure_style
from workflow_scripts.lib.report.figure_parts import NO_RUN, rows_of_run, runs_of

WIDTH, HEIGHT = 7.4, 4.6
COLUMNS = 2
WRAP = 40
REASON_WRAP, REASON_LINES = 60, 2
SMALLEST, LARGEST = 4.0, 60.0
SEVENTH: dict[str, Any] = {"color": "#8f8f8f", "linestyle": (0, (1, 1)), "marker": "X"}
STYLES = dict(zip(METHODS, itertools.cycle((*figure_style.LINES, SEVENTH)), strict=False))
DIAGONAL: dict[str, Any] = {"color": "#9b9b9b", "linestyle": "-", "linewidth": 0.7}


@dataclass(frozen=True)
class Panel:
    """A run and its bins; no run where none is configured."""

    run: str
    rows: pl.DataFrame

    @property
    def methods(self) -> list[str]:
        """The methods that were tried, in the order of the tables."""
        tried = set(self.rows["method"].to_list())
        return [name for name in METHODS if name in tried]

    def bins(self, method: str) -> pl.DataFrame:
        """Select the bins of a method that hold responses."""
        rows = self.rows.filter((pl.col("method") == method) & pl.col("share_right").is_not_null())
        return rows.sort("mean_probability")

    def reason(self, method: str) -> str:
        """Say why a method has no probabilities."""
        without_bins = (pl.col("method") == method) & pl.col("bin").is_null()
        reasons = self.rows.filter(without_bins)["reason"].drop_nulls()
        return reasons[0] if len(reasons) else "no responses"


def panels_of(table: pl.DataFrame, section: dict[str, Any]) -> list[Panel]:
    """List a panel for each configured run."""
    return [Panel(run, rows_of_run(table, run)) for run in runs_of(section)] or [Panel("", table.clear())]


def marker_areas(counts: Sequence[int]) -> list[float]:
    """Compute areas of markers in square points, by the share of a method's responses that a bin holds."""
    return [SMALLEST + (LARGEST - SMALLEST) * (count / sum(counts)) ** 0.5 for count in counts]


def draw_methods(axes: Axes, panel: Panel) -> None:
    """Draw the points of every method with their intervals, and the diagonal."""
    axes.plot([0, 1], [0, 1], zorder=1, **DIAGONAL)
    for method in panel.methods:
        bins, style = panel.bins(method), STYLES[method]
        x, y = bins["mean_probability"].to_numpy(), bins["share_right"].to_numpy()
        low, high = bins["ci_low"].to_numpy(), bins["ci_high"].to_numpy()
        axes.vlines(x, low, high, color=style["color"], linewidth=0.7, alpha=0.7, zorder=2)
        line = {name: style[name] for name in ("color", "linestyle")}
        axes.plot(x, y, linewidth=1.1, zorder=3, **line)
        sizes = marker_areas(bins["n"].to_list())
        axes.scatter(x, y, s=sizes, color=style["color"], marker=style["marker"], linewidths=0, zorder=4)
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.03, 1.03)
    axes.tick_params(labelbottom=False)
    axes.set_ylabel("share correct")


def draw_counts(axes: Axes, panel: Panel) -> None:
    """Write below the diagram how many responses the bins of each method hold, or why it has none."""
    methods = panel.methods
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(len(methods) - 0.5, -0.5)
    axes.set_yticks(range(len(methods)), [METHODS[name] for name in methods], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("mean probability of a correct answer")
    for place, method in enumerate(methods):
        if place % 2 == 0:
            axes.axhspan(place - 0.5, place + 0.5, facecolor="#f2f2f2", zorder=0)
        counts = panel.bins(method)["n"].to_list()
        text, size = (bin_words(counts), 6.5) if counts else (reason_words(panel.reason(method)), 5.2)
        axes.text(0.5, place, text, ha="center", va="center", fontsize=size, linespacing=0.95)


def bin_words(counts: Sequence[int]) -> str:
    """Say how many responses bins hold."""
    held = f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f"{len(counts)} bin{'s' if len(counts) > 1 else ''} of {held} responses"


def reason_words(reason: str) -> str:
    """Break a reason into lines that fit a row."""
    return "\n".join(textwrap.wrap(reason, REASON_WRAP, max_lines=REASON_LINES, placeholder=" ..."))


def draw_panel(upper: Axes, lower: Axes, panel: Panel) -> None:
    """Draw one run."""
    upper.set_title(panel.run)
    if panel.rows.is_empty():
        why = "nothing was measured for this run" if panel.run else NO_RUN
        upper.set_xticks([])
        upper.set_yticks([])
        figure_style.explain_empty(upper, why, WRAP)
        lower.set_axis_off()
        return
    draw_methods(upper, panel)
    draw_counts(lower, panel)


def handles(methods: Sequence[str]) -> list[Line2D]:
    """Build the legend."""
    lines = [Line2D([], [], markersize=4.5, linewidth=1.1, label=METHODS[name], **STYLES[name]) for name in methods]
    interval = Line2D([], [], color="#6e6e6e", linewidth=0.7, marker="|", linestyle="", markersize=9, label="interval")
    return [*lines, interval, Line2D([], [], label="perfect calibration", **DIAGONAL)]


def draw(table: pl.DataFrame, section: dict[str, Any]) -> Figure:
    """Draw the figure: for each run the diagram, and the numbers of responses below."""
    panels = panels_of(table, section)
    n_rows, n_columns = -(-len(panels) // COLUMNS), min(COLUMNS, len(panels))
    figure = plt.figure(figsize=(WIDTH if n_columns > 1 else 0.62 * WIDTH, HEIGHT * n_rows + 0.9), layout="constrained")
    ratios = [2.4, 1.0] * n_rows
    grid = figure.subplots(2 * n_rows, n_columns, squeeze=False, gridspec_kw={"height_ratios": ratios})
    for place in range(n_rows * n_columns):
        row, column = divmod(place, n_columns)
        pair = grid[2 * row, column], grid[2 * row + 1, column]
        if place < len(panels):
            draw_panel(*pair, panels[place])
        else:
            for axes in pair:
                axes.set_axis_off()
    methods = [name for name in METHODS if any(len(panel.bins(name)) for panel in panels)]
    if methods:
        figure.legend(handles=handles(methods), loc="outside upper center", ncols=3 if n_columns > 1 else 2)
    return figure
