"""The dose-response: accuracy against how many neurons are set to zero, and against the factor on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter, NullLocator

from workflow_scripts.lib.neurons.catalogue import SELECTIONS, is_random
from workflow_scripts.lib.report import figure_style
from workflow_scripts.lib.report.figure_parts import NO_RUN, draw_band, draw_curve, layers_of, rows_of_run, runs_of

WIDTH, HEIGHT = 7.4, 2.6
WRAP = 40
UNMASKED: dict[str, Any] = {"color": "#000000", "linestyle": (0, (1, 2)), "linewidth": 1.1}
UNMASKED_BAND: dict[str, Any] = {"facecolor": "#ededed", "edgecolor": "#b4b4b4", "hatch": "....", "linewidth": 0}


@dataclass(frozen=True)
class Panel:
    """One row of axes: a run, a layer, and what was measured there; no run where none is configured."""

    run: str
    layer: int | None
    rows: pl.DataFrame

    @property
    def title(self) -> str:
        """Run and layer."""
        return self.run if self.layer is None else f"{self.run}, layer {self.layer}"

    @property
    def selections(self) -> list[str]:
        """What was ablated, in the order of the tables."""
        masked = set(self.rows["selection"].to_list()) - {"none"}
        return [name for name in SELECTIONS if name in masked]

    @property
    def unmasked(self) -> dict[str, Any] | None:
        """The unablated run on the same problems."""
        rows = self.rows.filter(pl.col("selection") == "none").to_dicts()
        return rows[0] if rows else None


def panels_of(table: pl.DataFrame, section: dict[str, Any]) -> list[Panel]:
    """List the rows of the figure: configured runs, and of each the configured layers or all that were measured."""
    panels = []
    for run in runs_of(section):
        rows = rows_of_run(table, run)
        layers: list[int | None] = [*layers_of(section, rows)] or [None]
        panels += [Panel(run, layer, rows.filter(pl.col("layer").eq_missing(layer))) for layer in layers]
    return panels or [Panel("", None, table.clear())]


def by_share(panel: Panel) -> pl.DataFrame:
    """Select the rows set to zero, their share as `x`."""
    return panel.rows.filter(pl.col("mode") == "zero").with_columns(x="share")


def by_factor(panel: Panel) -> pl.DataFrame:
    """Select the rows scaled by a factor, their factor as `x`; rows set to zero at the same share have factor 0.

    The unablated run is factor 1 of every selection and draw.
    """
    scaled = panel.rows.filter(pl.col("mode") == "scale")
    if scaled.is_empty():
        return scaled.with_columns(x="factor")
    zero = panel.rows.filter((pl.col("mode") == "zero") & pl.col("share").is_in(scaled["share"].unique().to_list()))
    rows = scaled if (scaled["factor"] == 0).any() else pl.concat([scaled, zero])
    plain = panel.unmasked or {}
    numbers = [pl.lit(plain.get(name), pl.Float64).alias(name) for name in ("accuracy", "ci_low", "ci_high")]
    one = rows.unique(["selection", "draw"], maintain_order=True).with_columns(*numbers, factor=pl.lit(1.0))
    return pl.concat([rows, one]).unique(["selection", "draw", "factor"], maintain_order=True).with_columns(x="factor")


def around_one(factors: Sequence[float]) -> np.ndarray:
    """Place factors on their axis: 1 in the middle, equal changes up and down equally far, large ones drawn in."""
    change = np.asarray(factors, dtype=float) - 1
    return np.sign(change) * np.log2(1 + np.abs(change))


def curve_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Average draws by `x`, with the lowest and highest draw, or with the interval where there is one draw."""
    several = rows["draw"].n_unique() > 1
    low, high = (pl.col("accuracy"), pl.col("accuracy")) if several else (pl.col("ci_low"), pl.col("ci_high"))
    curve = rows.group_by("x").agg(pl.col("accuracy").mean(), low=low.min(), high=high.max())
    return curve.sort("x").drop_nulls("accuracy")


def draw_selection(axes: Axes, rows: pl.DataFrame, place: Any, style: dict[str, Any]) -> None:
    """Draw the curve of one selection, its band, and its draws as thin lines; `place` maps `x` onto the axis."""
    curve = curve_of(rows)
    band = curve.drop_nulls(["low", "high"])
    draw_band(axes, place(band["x"].to_list()), band["low"].to_numpy(), band["high"].to_numpy(), style)
    if rows["draw"].n_unique() > 1:
        thin = {name: style[name] for name in ("color", "linestyle")}
        for _, drawn in rows.sort("x").group_by("draw", maintain_order=True):
            axes.plot(place(drawn["x"].to_list()), drawn["accuracy"].to_numpy(), linewidth=0.5, alpha=0.7, **thin)
    draw_curve(axes, place(curve["x"].to_list()), curve["accuracy"].to_numpy(), style, markersize=4)


def label_axis(axes: Axes, values: list[float], place: Any, margin: float) -> None:
    """Set a tick at every value measured."""
    at = place(values)
    axes.set_xticks(at, [f"{value:g}" for value in values])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(min(at) - margin, max(at) + margin)


def empty_reason(panel: Panel, what: str) -> str:
    """Say why a panel has no curve."""
    if not panel.run:
        return NO_RUN
    if panel.rows.is_empty():
        return "no dose-response was measured for this run and layer"
    return f"no {what} was measured for this run and layer"


def draw_axes(axes: Axes, panel: Panel, rows: pl.DataFrame, what: str, styles: dict[str, dict[str, Any]]) -> None:
    """Draw one set of axes, `what` (share or factor) on the horizontal one."""
    place = np.log10 if what == "share" else around_one
    if rows.drop_nulls("accuracy").is_empty():
        axes.set_xticks([])
        figure_style.explain_empty(axes, empty_reason(panel, what), WRAP)
        return
    plain = panel.unmasked
    if plain is not None:
        if plain["ci_low"] is not None:
            axes.axhspan(plain["ci_low"], plain["ci_high"], zorder=0.4, **UNMASKED_BAND)
        axes.axhline(plain["accuracy"], zorder=1, **UNMASKED)
    for name in panel.selections:
        draw_selection(axes, rows.filter(pl.col("selection") == name), place, styles[name])
    label_axis(axes, sorted(rows["x"].unique().to_list()), place, 0.12 if what == "share" else 0.15)
    if what == "factor":
        reach = max(abs(limit) for limit in axes.get_xlim())
        axes.set_xlim(-reach, reach)


def handles(styles: dict[str, dict[str, Any]]) -> list[Any]:
    """Build the legend."""
    lines = [
        Line2D(
            [], [], markersize=4, linewidth=1.5, label=SELECTIONS[name] + (", mean" if is_random(name) else ""), **style
        )
        for name, style in styles.items()
    ]
    drawn = [Line2D([], [], color="#6e6e6e", linewidth=0.5, label="one draw")] if any(map(is_random, styles)) else []
    shade = "interval; of several draws, lowest to highest" if drawn else "interval"
    rest = [
        Patch(facecolor="#8097ba", alpha=0.45, label=shade),
        Line2D([], [], label="unablated", **UNMASKED),
        Patch(label="its interval", **UNMASKED_BAND),
    ]
    return [*lines, *drawn, *rest]


def draw(table: pl.DataFrame, section: dict[str, Any]) -> Figure:
    """Draw the figure: a row of two panels for each run and layer."""
    panels = panels_of(table, section)
    names = [name for name in SELECTIONS if any(name in panel.selections for panel in panels)]
    styles = {name: figure_style.LINES[i % len(figure_style.LINES)] for i, name in enumerate(names)}
    figure = plt.figure(figsize=(WIDTH, HEIGHT * len(panels) + 1.1), layout="constrained")
    grid = figure.subplots(len(panels), 2, sharey=True, squeeze=False)
    for panel, (left, right) in zip(panels, grid, strict=True):
        scaled = by_factor(panel)
        draw_axes(left, panel, by_share(panel), "share", styles)
        draw_axes(right, panel, scaled, "factor", styles)
        share = f"{100 * scaled['share'][0]:g} % of the neurons" if len(scaled) else "the neurons"
        left.set_xlabel("share of the layer's neurons set to zero")
        right.set_xlabel(f"factor on {share} (1: unablated)")
        left.set_ylabel("accuracy")
        left.set_title(panel.title)
        right.set_title(panel.title)
    numbers = [v for p in panels for name in ("accuracy", "ci_low", "ci_high") for v in p.rows[name].drop_nulls()]
    grid[0, 0].set_ylim(*(figure_style.limits(numbers, numbers[0]) if numbers else (0, 1)))
    if styles:
        figure.legend(handles=handles(styles), loc="outside upper center", ncols=3)
    return figure
