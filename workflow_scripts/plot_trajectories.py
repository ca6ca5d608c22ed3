"""Rule `plot_trajectories`: figures 3 and 9 (a positive and a negative surprise) and figure 10 (ablation).

Responses are chosen by rule (`trajectories.traces.surprising`, `report.trajectory_figure.median_response`), never by
eye.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import polars as pl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.report import figure_style, trajectory_figure
from workflow_scripts.lib.storage.identity import run_of
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.trajectories.traces import MIN_PARAGRAPHS, Surprise, Traced, read_trace, surprising

SURPRISES, ABLATION = ("fig3", "fig9"), "fig10"
WIDTH, LEFT, RIGHT = 7.4, 0.72, 0.15
LEGEND, EMPTY, CASE, ABLATED = 0.5, 1.2, 4.1, 2.95
"""Inches: of the legend, an empty block, a case without its text, a run of figure 10."""
KINDS = ("positive", "negative")
NO_RUN = "The configuration names no run for this figure: nothing was asked."


def runs_of(section: dict[str, Any]) -> list[str]:
    """The runs of a figure."""
    return list(section.get("runs") or [])


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a fixed place, in inches from the upper left corner; a solved layout would differ in its rounding."""
    total = figure.get_figheight()
    return figure.add_axes((left / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total))


def title_at(figure: Figure, top: float, title: str) -> None:
    """A title in the middle, `top` inches from the upper edge."""
    figure.text(0.5, 1 - top / figure.get_figheight(), title, ha="center", va="top", fontsize=9)


def explain(figure: Figure, top: float, title: str, reason: str) -> None:
    """A block of `EMPTY` inches that says why nothing is drawn in it."""
    title_at(figure, top + 0.05, title)
    axes = axes_at(figure, LEFT, top + 0.3, WIDTH - LEFT - RIGHT, EMPTY - 0.4)
    axes.set_axis_off()
    figure_style.explain_empty(axes, reason, 80)


def empty_figure(reason: str) -> Figure:
    """A figure that says why it is empty."""
    figure = plt.figure(figsize=(WIDTH, EMPTY))
    explain(figure, 0.0, "", reason)
    return figure


def draw_surprise(figure: Figure, top: float, traced: Traced, found: Surprise) -> None:
    """One case: values, TD errors and activations over the same tokens, the text below."""
    title_at(figure, top + 0.08, title_of(traced, found))
    texts, width, place = trajectory_figure.listed_paragraphs(found.row), WIDTH - LEFT - RIGHT, top + 0.68
    drawn = []
    for height in trajectory_figure.AXES_INCHES:
        drawn.append(axes_at(figure, LEFT, place, width, height))
        place += height + 0.14
    values, deltas, line = drawn
    trajectory_figure.draw_values(values, found.row)
    trajectory_figure.draw_deltas(deltas, found.row)
    trajectory_figure.draw_activation(line, traced, found.row)
    for axes in drawn:
        trajectory_figure.draw_boundaries(axes, found.row["boundaries"], numbers=axes is values)
        axes.set_xlim(0.5, max(len(found.row["pieces"]), 1) + 0.5)
        axes.tick_params(bottom=axes is line, labelbottom=axes is line)
    trajectory_figure.draw_texts(
        axes_at(figure, LEFT, place + 0.34, width, trajectory_figure.text_height(texts)), texts
    )


def case_height(found: Surprise | None) -> float:
    """Inches that a case takes."""
    return (
        EMPTY if found is None else CASE + trajectory_figure.text_height(trajectory_figure.listed_paragraphs(found.row))
    )


def title_of(traced: Traced, found: Surprise) -> str:
    """Run, surprise, response and neuron."""
    row, one = found.row, traced.neurons[traced.places("dopamine")[0]]
    outcome = "right" if row["reward"] else "wrong"
    sign = "as it is" if one.sign > 0 else "sign turned"
    return (
        f"{traced.run}, {found.kind} surprise: {row['problem_id']}, V(s₀) = {row['values'][0]:.2f}, {outcome}\n"
        f"layer {traced.layer}, neuron {one.neuron} (first by importance, {sign})"
    )


def surprise_figure(traced: dict[str, Traced], section: dict[str, Any]) -> Figure:
    """Figures 3 and 9: both surprises of each run, one below the other."""
    cases = [(run, kind) for run in runs_of(section) for kind in KINDS]
    if not cases:
        return empty_figure(NO_RUN)
    chosen = [surprising(traced[run], kind) if run in traced else None for run, kind in cases]
    heights = [case_height(found) for found in chosen]
    figure, top = plt.figure(figsize=(WIDTH, LEGEND + sum(heights))), LEGEND
    figure.legend(handles=surprise_handles(), loc="upper center", ncols=3)
    for (run, kind), found, height in zip(cases, chosen, heights, strict=True):
        if found is None:
            outcome = "right" if kind == "positive" else "wrong"
            why = f"no validation response with at least {MIN_PARAGRAPHS} paragraphs is {outcome}"
            why = why if run in traced else "the neurons of this run were not followed"
            explain(figure, top, f"{run}, {kind} surprise", why)
        else:
            draw_surprise(figure, top, traced[run], found)
        top += height
    return figure


def surprise_handles() -> list[Any]:
    """The legend of figures 3 and 9."""
    return [
        Line2D([], [], label="value V(s) and its interval", **trajectory_figure.VALUE),
        Patch(label="TD error of a paragraph, kept", **trajectory_figure.KEPT),
        Patch(label="not kept (too small)", **trajectory_figure.LEFT_OUT),
        Line2D([], [], label="activation of each token", **trajectory_figure.ACTIVATION),
        Line2D([], [], label="its mean over the paragraph", **trajectory_figure.MEAN),
        Line2D([], [], label="paragraph boundary", **trajectory_figure.BOUNDARY),
    ]


def draw_ablation(figure: Figure, top: float, traced: Traced | None, frame: pl.DataFrame, run: str) -> None:
    """One run: three trajectories over one response, and the distribution of the correlations over all."""
    chosen = trajectory_figure.median_response(traced, frame) if traced is not None else None
    if traced is None or chosen is None:
        explain(figure, top, run, "nothing was ablated in this run, or no validation response has a correlation")
        return
    neuron = trajectory_figure.first_neuron(traced)
    about = f"layer {traced.layer}, neuron {neuron.neuron} (first by importance): {chosen['problem_id']}"
    title_at(figure, top + 0.08, f"{run}, {about}")
    left = axes_at(figure, 0.62, top + 0.72, 4.3, ABLATED - 1.3)
    trajectory_figure.draw_ablated(left, traced, frame, chosen)
    trajectory_figure.draw_correlations(axes_at(figure, 5.55, top + 0.72, 1.7, ABLATED - 1.3), frame, neuron.neuron)


def ablation_figure(traced: dict[str, Traced], ablated: dict[str, pl.DataFrame], section: dict[str, Any]) -> Figure:
    """Figure 10."""
    runs = runs_of(section)
    if not runs:
        return empty_figure(NO_RUN)
    figure = plt.figure(figsize=(WIDTH, LEGEND + ABLATED * len(runs)))
    figure.legend(handles=trajectory_figure.ablation_handles(), loc="upper center", ncols=3)
    for number, run in enumerate(runs):
        draw_ablation(figure, LEGEND + number * ABLATED, traced.get(run), ablated.get(run, pl.DataFrame()), run)
    return figure


def main(argv: Sequence[str] | None = None) -> None:
    """Read the trajectories and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with figures.fig3, fig9, fig10")
    parser.add_argument("--traced", nargs="*", type=Path, default=[], help="results/trajectories/*/*.parquet")
    parser.add_argument("--ablated", nargs="*", type=Path, default=[], help="results/trajectories/*/*/ablated.parquet")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    figures = load(arguments.params).figures
    matplotlib.use("Agg")
    matplotlib.rcParams.update(figure_style.STYLE)
    traced = {"/".join(run_of(path, "file")): read_trace(path) for path in arguments.traced}
    ablated = {"/".join(run_of(path, "shard")): read_parquet(path) for path in arguments.ablated}
    drawn = {name: surprise_figure(traced, figures.get(name, {})) for name in SURPRISES}
    drawn[ABLATION] = ablation_figure(traced, ablated, figures.get(ABLATION, {}))
    for name, figure in drawn.items():
        figure_style.save(figure, arguments.output_dir, name)
        plt.close(figure)


if __name__ == "__main__":
    run_main(main)
