"""Figures 3 and 9: a positive and a negative surprise of each run, with values, TD errors, activations and text.

Responses are chosen by a rule (`trajectories.traces.surprising`), never by eye.
"""

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from workflow_scripts.lib.report import trajectory_figure
from workflow_scripts.lib.report.figure_parts import NO_RUN, runs_of
from workflow_scripts.lib.report.trajectory_layout import (
    EMPTY,
    LEFT,
    LEGEND,
    RIGHT,
    WIDTH,
    axes_at,
    empty_figure,
    explain,
    title_at,
)
from workflow_scripts.lib.trajectories.traces import MIN_PARAGRAPHS, Surprise, Traced, surprising

KINDS = ("positive", "negative")
CASE = 4.1
"""Inches that a case takes without its text."""


def draw_surprise(figure: Figure, top: float, traced: Traced, case: Surprise) -> None:
    """Draw one case: values, TD errors and activations over the same tokens, the text below."""
    title_at(figure, top + 0.08, title_of(traced, case))
    texts, width, place = trajectory_figure.listed_paragraphs(case.row), WIDTH - LEFT - RIGHT, top + 0.68
    drawn = []
    for height in trajectory_figure.AXES_INCHES:
        drawn.append(axes_at(figure, LEFT, place, width, height))
        place += height + 0.14
    values, deltas, line = drawn
    trajectory_figure.draw_values(values, case.row)
    trajectory_figure.draw_deltas(deltas, case.row)
    trajectory_figure.draw_activation(line, traced, case.row)
    for axes in drawn:
        trajectory_figure.draw_boundaries(axes, case.row["boundaries"], numbers=axes is values)
        axes.set_xlim(0.5, max(len(case.row["pieces"]), 1) + 0.5)
        axes.tick_params(bottom=axes is line, labelbottom=axes is line)
    trajectory_figure.draw_texts(
        axes_at(figure, LEFT, place + 0.34, width, trajectory_figure.text_height(texts)), texts
    )


def case_height(case: Surprise | None) -> float:
    """Return the inches that a case takes."""
    return (
        EMPTY if case is None else CASE + trajectory_figure.text_height(trajectory_figure.listed_paragraphs(case.row))
    )


def title_of(traced: Traced, case: Surprise) -> str:
    """Write run, surprise, response and neuron."""
    row, one = case.row, traced.neurons[traced.places("dopamine")[0]]
    outcome = "correct" if row["reward"] else "incorrect"
    sign = "as it is" if one.sign > 0 else "sign reversed"
    return (
        f"{traced.run}, {case.kind} surprise: {row['problem_id']}, V(s₀) = {row['values'][0]:.2f}, {outcome}\n"
        f"layer {traced.layer}, neuron {one.neuron} (first by importance, {sign})"
    )


def surprise_figure(traced: dict[str, Traced], section: dict[str, Any]) -> Figure:
    """Draw figure 3 or 9: both surprises of each run, one below the other."""
    cases = [(run, kind) for run in runs_of(section) for kind in KINDS]
    if not cases:
        return empty_figure(NO_RUN)
    chosen = [surprising(traced[run], kind) if run in traced else None for run, kind in cases]
    heights = [case_height(case) for case in chosen]
    figure, top = plt.figure(figsize=(WIDTH, LEGEND + sum(heights))), LEGEND
    figure.legend(handles=surprise_handles(), loc="upper center", ncols=3)
    for (run, kind), case, height in zip(cases, chosen, heights, strict=True):
        if case is None:
            outcome = "correct" if kind == "positive" else "incorrect"
            why = f"no validation response with at least {MIN_PARAGRAPHS} paragraphs is {outcome}"
            why = why if run in traced else "the neurons of this run were not traced"
            explain(figure, top, f"{run}, {kind} surprise", why)
        else:
            draw_surprise(figure, top, traced[run], case)
        top += height
    return figure


def surprise_handles() -> list[Any]:
    """Build the legend of figures 3 and 9."""
    return [
        Line2D([], [], label="value V(s) and its interval", **trajectory_figure.VALUE),
        Patch(label="TD error of a paragraph, kept", **trajectory_figure.KEPT),
        Patch(label="not kept (too small)", **trajectory_figure.LEFT_OUT),
        Line2D([], [], label="activation of each token", **trajectory_figure.ACTIVATION),
        Line2D([], [], label="its mean over the paragraph", **trajectory_figure.MEAN),
        Line2D([], [], label="paragraph boundary", **trajectory_figure.BOUNDARY),
    ]
