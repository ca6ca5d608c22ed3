"""Figures 1, 4 to 7 and 11: scores of probes against the prune ratio, a panel for each run or layer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.lib.report import figure_style
from workflow_scripts.lib.report.figure_parts import NO_RUN, draw_controls, draw_pruned, layers_of, rows_of_run, runs_of


@dataclass(frozen=True)
class Kind:
    """What distinguishes the figures."""

    table: str
    metric: str
    label: str
    chance: float
    position: str | None
    one_layer_a_panel: bool


KINDS = {
    "fig1": Kind("pruning_value", "auc", "AUC at the last prompt token", 0.5, "initial", False),
    "fig4": Kind("pruning_dopamine", "spearman", "Spearman correlation", 0.0, None, False),
    "fig5": Kind("pruning_value", "auc", "AUC at the last prompt token", 0.5, "initial", False),
    "fig6": Kind("pruning_value", "auc", "AUC at the last prompt token", 0.5, "initial", False),
    "fig7": Kind("pruning_value", "auc", "AUC at the last prompt token", 0.5, "initial", True),
    "fig11": Kind("pruning_value", "auc", "AUC at the last response token", 0.5, "final", False),
}
PER_ROW = {True: 7, False: 3}
PANEL = {True: (2.05, 1.75), False: (3.7, 2.9)}
WRAP = {True: 24, False: 42}
CONTROLS = {"random_mean": figure_style.RANDOM, "shuffled": figure_style.SHUFFLED}


@dataclass(frozen=True)
class Panel:
    """One set of axes: a run, some of its layers, and the rows of the table that belong to them."""

    title: str
    layers: list[int]
    rows: pl.DataFrame
    first_of_run: bool


def panel_title(run: str, rows: pl.DataFrame) -> str:
    """Write the run, and how many validation items its curves rest on."""
    counted = rows.drop_nulls("n_validation") if "n_validation" in rows.columns else rows.clear()
    if counted.is_empty():
        return run
    n = int(counted["n_validation"][0])
    if "n_right" not in counted.columns:
        return f"{run}  ({n} paragraphs)"
    return f"{run}  ({n} responses, {int(counted['n_right'][0])} correct)"


def panels_of(table: pl.DataFrame, kind: Kind, section: dict[str, Any]) -> list[Panel]:
    """List the panels of a figure, in the order of the configured runs."""
    panels: list[Panel] = []
    if kind.position is not None:
        table = table.filter(pl.col("position") == kind.position)
    if not runs_of(section):
        return [Panel("", [], table.clear(), True)]
    for run in runs_of(section):
        rows = rows_of_run(table, run)
        layers = layers_of(section, rows)
        rows = rows.filter(pl.col("layer").is_in(layers)).sort("layer", "prune_ratio")
        if kind.one_layer_a_panel and layers:
            for layer in layers:
                rows_here = rows.filter(pl.col("layer") == layer)
                panels.append(Panel(f"layer {layer}", [layer], rows_here, layer == layers[0]))
        else:
            panels.append(Panel(panel_title(run, rows), layers, rows, True))
    return panels


def empty_reason(panel: Panel) -> str:
    """Say why a panel has no curve."""
    if not panel.title:
        return NO_RUN
    reasons = panel.rows["reason"].drop_nulls().to_list() if "reason" in panel.rows.columns else []
    return reasons[0] if reasons else "no probe was evaluated for this run and layer"


def draw_panel(axes: Axes, panel: Panel, kind: Kind, styles: dict[int, int]) -> None:
    """Draw everything inside one set of axes; a reason in words where there is no curve."""
    axes.set_title(panel.title)
    figure_style.stretch_axis(
        axes, panel.rows["prune_ratio"].unique(maintain_order=True).to_list(), kind.one_layer_a_panel
    )
    if panel.rows.drop_nulls(kind.metric).is_empty():
        figure_style.explain_empty(axes, empty_reason(panel), WRAP[kind.one_layer_a_panel])
        return
    draw_controls(axes, panel.rows, CONTROLS)
    axes.axhline(kind.chance, zorder=1, **figure_style.CHANCE)
    for layer in panel.layers:
        style = figure_style.LINES[styles[layer] % len(figure_style.LINES)]
        rows = panel.rows.filter(pl.col("layer") == layer)
        draw_pruned(axes, rows, (kind.metric, "ci_low", "ci_high"), style)
    if "noise_ceiling" in panel.rows.columns and panel.rows["noise_ceiling"][0] is not None:
        axes.axhline(panel.rows["noise_ceiling"][0], zorder=2, **figure_style.CEILING)


def cells(panels: Sequence[Panel], per_row: int) -> list[tuple[int, int]]:
    """Place each panel in a row and column; with one layer a panel, every run starts a new row."""
    places: list[tuple[int, int]] = []
    row, column = 0, 0
    for i, panel in enumerate(panels):
        new_run = i > 0 and panel.first_of_run and len(panel.layers) == 1 and panel.title.startswith("layer")
        if column == per_row or (new_run and column > 0):
            row, column = row + 1, 0
        places.append((row, column))
        column += 1
    return places


def numbers(panels: Iterable[Panel], metric: str) -> list[float | None]:
    """Collect all numbers that a figure shows, for its vertical limits."""
    names = [metric, "ci_low", "ci_high", "random_low", "random_high", "shuffled", "noise_ceiling"]
    return [v for p in panels for n in names if n in p.rows.columns for v in p.rows[n].to_list()]


def run_titles(panels: Sequence[Panel], section: dict[str, Any]) -> list[Panel]:
    """Add the run's name to the title of each run's first panel, where each panel has one layer."""
    if not runs_of(section):
        return list(panels)
    named, runs = [], iter(runs_of(section))
    for panel in panels:
        title = f"{next(runs)}\n{panel.title}" if panel.first_of_run else panel.title
        named.append(Panel(title, panel.layers, panel.rows, panel.first_of_run))
    return named


def draw(table: pl.DataFrame, kind: Kind, section: dict[str, Any]) -> Figure:
    """Draw one figure."""
    panels = panels_of(table, kind, section)
    small = kind.one_layer_a_panel
    places = cells(panels, PER_ROW[small])
    if small:
        panels = run_titles(panels, section)
    n_rows, n_columns = max(r for r, _ in places) + 1, max(c for _, c in places) + 1
    width, height = PANEL[small]
    figure = plt.figure(figsize=(max(width * n_columns + 0.6, 7.4), height * n_rows + 1.3), layout="constrained")
    grid = figure.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    for axes in grid.flat:
        axes.set_visible(False)
    layers = sorted({layer for panel in panels for layer in panel.layers})
    styles = {layer: 0 if small else i for i, layer in enumerate(layers)}
    for panel, (row, column) in zip(panels, places, strict=True):
        axes = grid[row, column]
        axes.set_visible(True)
        draw_panel(axes, panel, kind, styles)
    grid[0, 0].set_ylim(*figure_style.limits(numbers(panels, kind.metric), kind.chance))
    figure.supxlabel("prune ratio (spaced by the logarithm of the share of inputs kept)", fontsize=9)
    figure.supylabel(kind.label, fontsize=9)
    named = [(0, "inputs kept by importance")] if small else [(styles[layer], f"layer {layer}") for layer in layers]
    handles: list[Any] = [figure_style.layer_handle(i, label) for i, label in named]
    handles = [*handles, *figure_style.control_handles(kind.chance, kind.metric == "spearman")]
    figure.legend(handles=handles, loc="outside upper center", ncols=3 if n_columns < 3 else 4)
    return figure
