"""The layout of the figures of trajectories: axes and titles at fixed places, blocks that say why they are empty."""

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.lib.report import figure_style

WIDTH, LEFT, RIGHT = 7.4, 0.72, 0.15
LEGEND, EMPTY = 0.5, 1.2
"""Inches: of the legend, and of an empty block."""


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a fixed place, in inches from the upper left corner; a solved layout would differ in its rounding."""
    total = figure.get_figheight()
    return figure.add_axes((left / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total))


def title_at(figure: Figure, top: float, title: str) -> None:
    """Write a title in the middle, `top` inches from the upper edge."""
    figure.text(0.5, 1 - top / figure.get_figheight(), title, ha="center", va="top", fontsize=9)


def explain(figure: Figure, top: float, title: str, reason: str) -> None:
    """Say in a block of `EMPTY` inches why nothing is drawn in it."""
    title_at(figure, top + 0.05, title)
    axes = axes_at(figure, LEFT, top + 0.3, WIDTH - LEFT - RIGHT, EMPTY - 0.4)
    axes.set_axis_off()
    figure_style.explain_empty(axes, reason, 80)


def empty_figure(reason: str) -> Figure:
    """Draw a figure that says why it is empty."""
    figure = plt.figure(figsize=(WIDTH, EMPTY))
    explain(figure, 0.0, "", reason)
    return figure
