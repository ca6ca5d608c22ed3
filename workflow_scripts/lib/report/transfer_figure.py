"""Figures 2 and 8: the overlap of value neurons between runs, from the table `transfer` alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from workflow_scripts.lib.neurons.overlap import DATASETS, MODELS, ONE_SEED
from workflow_scripts.lib.report import figure_style
from workflow_scripts.lib.report.figure_parts import NO_RUN, draw_controls, draw_pruned, layers_of, runs_of

PER_ROW = 4
WIDTH, HEIGHT = 2.5, 2.1
WRAP = 30
SAME = {DATASETS: "model_a", MODELS: "dataset_a"}
"""What the pairs of a group share."""
PARTS = {DATASETS: ("dataset_a", "dataset_b"), MODELS: ("model_a", "model_b")}
"""What the runs of a pair differ in."""
CONTROLS = {"random_mean": figure_style.RANDOM, "shuffled": figure_style.SHUFFLED, "within": figure_style.CEILING}
RUNS = (("model_a", "dataset_a"), ("model_b", "dataset_b"))


@dataclass(frozen=True)
class Group:
    """Pairs that share a model (across data sets) or a data set (across models); `layers` has a panel each."""

    across: str
    shared: str
    layers: list[int]
    rows: pl.DataFrame

    @property
    def title(self) -> str:
        """What the pairs have in common."""
        return f"across {self.across}: {self.shared}"

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The pairs, in the order of the table."""
        return self.rows.select(PARTS[self.across]).unique(maintain_order=True).rows()


def groups_of(table: pl.DataFrame, section: dict[str, Any]) -> list[Group]:
    """Group the pairs of value probes whose runs are both configured: first across data sets, then across models."""
    runs = runs_of(section)
    both = [pl.concat_str(names, separator="/").is_in(runs) for names in RUNS]
    rows = table.filter(pl.col("kind") == "value", *both)
    groups = []
    for across, column in SAME.items():
        for (shared,), pairs in rows.filter(pl.col("across") == across).group_by(column, maintain_order=True):
            layers = layers_of(section, pairs)
            groups.append(Group(across, str(shared), layers, pairs.filter(pl.col("layer").is_in(layers))))
    return groups


def style_of(place: int) -> dict[str, Any]:
    """Choose the style of a group's pair; where pairs outnumber styles, markers are hollow the second time."""
    style = figure_style.LINES[place % len(figure_style.LINES)]
    return style | {"markerfacecolor": "white"} if (place // len(figure_style.LINES)) % 2 else style


def draw_panel(axes: Axes, group: Group, layer: int) -> None:
    """Draw all pairs of a group at one layer."""
    rows = group.rows.filter(pl.col("layer") == layer).sort("prune_ratio", maintain_order=True)
    axes.set_title(f"layer {layer}")
    axes.set_ylim(-0.04, 1.04)
    figure_style.stretch_axis(axes, rows["prune_ratio"].unique(maintain_order=True).to_list(), True)
    if rows.drop_nulls("iou").is_empty():
        figure_style.explain_empty(axes, "no probes were compared at this layer", WRAP)
        return
    draw_controls(axes, rows, CONTROLS)
    for place, pair in enumerate(group.pairs):
        names = zip(PARTS[group.across], pair, strict=True)
        curve = rows.filter([pl.col(column) == name for column, name in names])
        draw_pruned(axes, curve, ("iou", "iou_low", "iou_high"), style_of(place))


def pair_handles(group: Group) -> list[Line2D]:
    """Build the legend entries of a group's pairs; a pair that shares its first weights is marked."""
    marked = group.rows.filter(pl.col("reason").str.contains(ONE_SEED, literal=True).fill_null(value=False))
    alike = set(marked.select(PARTS[group.across]).rows())
    return [
        Line2D(
            [],
            [],
            markersize=4,
            linewidth=1.5,
            label=" and ".join(pair) + (" (same first weights)" if pair in alike else ""),
            **style_of(place),
        )
        for place, pair in enumerate(group.pairs)
    ]


def control_handles(groups: Sequence[Group]) -> list[Line2D | Patch]:
    """Build the legend entries of everything that is not a pair."""
    rows = pl.concat([group.rows for group in groups])
    handles: list[Line2D | Patch] = [
        Line2D([], [], label="uniform sets, expected", **figure_style.RANDOM),
        Patch(label="uniform sets, band", **figure_style.BAND),
    ]
    if rows["iou_low"].is_not_null().any():
        handles.append(Patch(facecolor="#8097ba", alpha=0.45, label="lowest to highest pair of seeds"))
    if rows["shuffled"].is_not_null().any():
        handles.append(Line2D([], [], label="trained on shuffled labels", **figure_style.SHUFFLED))
    if rows["within"].is_not_null().any():
        handles.append(Line2D([], [], label="same run, another seed", **figure_style.CEILING))
    return handles


def draw_group(part: SubFigure, group: Group, n_columns: int) -> None:
    """Draw the panels of one group, with the legend of its pairs above them."""
    n_rows = rows_of(group)
    grid = part.subplots(n_rows, n_columns, sharey=True, squeeze=False)
    for axes in grid.flat[len(group.layers) :]:
        axes.set_visible(False)
    for axes, layer in zip(grid.flat, group.layers, strict=False):
        draw_panel(axes, group, layer)
    part.supylabel("intersection over union", fontsize=9)
    legend = part.legend(handles=pair_handles(group), loc="outside upper center", ncols=3, title=group.title)
    legend.get_title().set_fontsize(9.5)


def rows_of(group: Group) -> int:
    """Count the rows of panels that a group takes."""
    return max(1, -(-len(group.layers) // PER_ROW))


def draw_empty(section: dict[str, Any]) -> Figure:
    """Draw a figure without a curve, which says why."""
    figure = plt.figure(figsize=(7.4, 2.9), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    reason = NO_RUN
    if runs_of(section):
        reason = (
            "no two of this figure's runs are one model on two data sets, or two models of a family on one data set"
        )
    figure_style.explain_empty(axes, reason, 60)
    return figure


def draw(table: pl.DataFrame, section: dict[str, Any]) -> Figure:
    """Draw one figure: a row of panels for each group, a panel for each layer, a curve for each pair of runs."""
    groups = groups_of(table, section)
    if not groups:
        return draw_empty(section)
    n_columns = max(min(len(group.layers), PER_ROW) for group in groups)
    heights = [HEIGHT * rows_of(group) + 0.3 + 0.2 * -(-len(group.pairs) // 3) for group in groups]
    figure = plt.figure(figsize=(max(WIDTH * n_columns + 0.6, 7.4), sum(heights) + 1.0), layout="constrained")
    parts = figure.subfigures(len(groups), 1, height_ratios=heights, squeeze=False)[:, 0]
    for part, group in zip(parts, groups, strict=True):
        draw_group(part, group, n_columns)
    figure.supxlabel("prune ratio (spaced by the logarithm of the share of inputs kept)", fontsize=9)
    figure.legend(handles=control_handles(groups), loc="outside upper center", ncols=3)
    return figure
