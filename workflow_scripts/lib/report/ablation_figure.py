"""Figure 10: trajectories of a dopamine neuron with value neurons of earlier layers ablated.

The response is chosen by a rule (`report.trajectory_figure.median_response`), never by eye.
"""

from typing import Any

import polars as pl
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from workflow_scripts.lib.report import trajectory_figure
from workflow_scripts.lib.report.figure_parts import NO_RUN, runs_of
from workflow_scripts.lib.report.trajectory_layout import (
    LEGEND,
    WIDTH,
    axes_at,
    empty_figure,
    explain,
    title_at,
)
from workflow_scripts.lib.trajectories.traces import Traced

ABLATED = 2.95
"""Inches that a run takes."""


def draw_ablation(figure: Figure, top: float, traced: Traced | None, frame: pl.DataFrame, run: str) -> None:
    """Draw one run: three trajectories over one response, and the distribution of the correlations over all."""
    chosen = trajectory_figure.median_response(traced, frame) if traced is not None else None
    if traced is None or chosen is None:
        explain(figure, top, run, "nothing was ablated in this run, or no validation response has a correlation")
        return
    neuron = trajectory_figure.first_neuron(traced)
    described = f"layer {traced.layer}, neuron {neuron.neuron} (first by importance): {chosen['problem_id']}"
    title_at(figure, top + 0.08, f"{run}, {described}")
    left = axes_at(figure, 0.62, top + 0.72, 4.3, ABLATED - 1.3)
    trajectory_figure.draw_ablated(left, traced, frame, chosen)
    trajectory_figure.draw_correlations(axes_at(figure, 5.55, top + 0.72, 1.7, ABLATED - 1.3), frame, neuron.neuron)


def ablation_figure(traced: dict[str, Traced], ablated: dict[str, pl.DataFrame], section: dict[str, Any]) -> Figure:
    """Draw figure 10."""
    runs = runs_of(section)
    if not runs:
        return empty_figure(NO_RUN)
    figure = plt.figure(figsize=(WIDTH, LEGEND + ABLATED * len(runs)))
    figure.legend(handles=trajectory_figure.ablation_handles(), loc="upper center", ncols=3)
    for number, run in enumerate(runs):
        draw_ablation(figure, LEGEND + number * ABLATED, traced.get(run), ablated.get(run, pl.DataFrame()), run)
    return figure
