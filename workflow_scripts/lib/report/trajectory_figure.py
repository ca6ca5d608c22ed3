"""Parts of the figures of trajectories: axes over the tokens of one response, its text, distributions."""

import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from workflow_scripts.lib.trajectories.traces import Followed, Traced, activations_of

Row = Mapping[str, Any]
LINE_INCHES, PARAGRAPH_GAP = 0.15, 0.35
"""Height of a line of text, and lines between paragraphs."""
AXES_INCHES = (0.75, 0.68, 1.06)
"""Heights of the values, TD errors and activations above the text."""
COLUMNS, MOST_LINES, MOST_PARAGRAPHS = 104, 2, 8
VALUE: dict[str, Any] = {"color": "#12305e", "linestyle": "-", "marker": "o", "markersize": 3.5, "linewidth": 1.0}
KEPT: dict[str, Any] = {"facecolor": "#b4470f", "edgecolor": "#7c2f08", "linewidth": 0.6}
LEFT_OUT: dict[str, Any] = {"facecolor": "#f3e3da", "edgecolor": "#7c2f08", "linewidth": 0.6}
ACTIVATION: dict[str, Any] = {"color": "#2d2d2d", "linestyle": "-", "linewidth": 0.9}
MEAN: dict[str, Any] = {"color": "#7a3b78", "linestyle": "-", "linewidth": 2.2, "alpha": 0.75}
BOUNDARY: dict[str, Any] = {"color": "#9b9b9b", "linestyle": ":", "linewidth": 0.8}
ZERO: dict[str, Any] = {"color": "#9b9b9b", "linestyle": "-", "linewidth": 0.6}
CONDITIONS: dict[str, dict[str, Any]] = {
    "none": {"color": "#9a8b1f", "linestyle": "-", "linewidth": 2.4, "alpha": 0.7},
    "value": {"color": "#b4470f", "linestyle": (0, (5, 1.5)), "linewidth": 1.2},
    "random": {"color": "#12305e", "linestyle": (0, (1, 1.2)), "linewidth": 1.3},
    "random_matched": {"color": "#5fb3b3", "linestyle": (0, (6, 1.5, 1, 1.5)), "linewidth": 1.2},
}
LABELS = {"none": "unablated", "value": "value neurons ablated", "random": "random", "random_matched": "matched random"}


def shortened(text: str) -> list[str]:
    """Cut a paragraph to at most `MOST_LINES` lines; what is cut shows as an ellipsis. `$` is not mathematics."""
    flat = " ".join(text.split()).replace("$", r"\$")
    printable = "".join(letter if letter.isprintable() else "?" for letter in flat)
    return textwrap.wrap(printable, COLUMNS, max_lines=MOST_LINES, placeholder=" …", break_long_words=True) or ["–"]


def listed_paragraphs(row: Row) -> list[tuple[int, list[str]]]:
    """List number and lines of each paragraph, or of the `MOST_PARAGRAPHS` with the largest |delta|."""
    texts = ["".join(row["pieces"][start:end]) for start, end in pairwise(row["boundaries"])]
    largest = sorted(range(len(texts)), key=lambda k: (-abs(row["deltas"][k]), k))[:MOST_PARAGRAPHS]
    listed = [(k + 1, shortened(texts[k])) for k in sorted(largest)]
    if len(texts) > len(listed):
        listed.append((0, [f"… and {len(texts) - len(listed)} paragraphs with smaller TD errors"]))
    return listed


def lines_of(texts: list[tuple[int, list[str]]]) -> float:
    """Count the lines that the text takes, gaps between paragraphs included."""
    return sum(len(lines) for _, lines in texts) + PARAGRAPH_GAP * len(texts)


def text_height(texts: list[tuple[int, list[str]]]) -> float:
    """Return the height of the text in inches."""
    return LINE_INCHES * lines_of(texts)


def draw_texts(axes: Axes, texts: list[tuple[int, list[str]]]) -> None:
    """Draw the numbered paragraphs, one below the other."""
    axes.set_axis_off()
    axes.set_ylim(lines_of(texts), 0)
    axes.set_xlim(0, 1)
    place = 0.0
    for number, lines in texts:
        if number:
            axes.text(0.0, place, str(number), va="top", ha="left", fontsize=7.5, weight="bold")
        for line in lines:
            axes.text(0.03, place, line, va="top", ha="left", fontsize=7.5)
            place += 1
        place += PARAGRAPH_GAP


def draw_boundaries(axes: Axes, boundaries: list[int], numbers: bool) -> None:
    """Draw lines between paragraphs, and above them the paragraphs' numbers, as far as there is room."""
    for offset in boundaries[1:-1]:
        axes.axvline(offset + 0.5, zorder=0.5, **BOUNDARY)
    taken = -np.inf
    for number, (start, end) in enumerate(pairwise(boundaries), 1):
        middle = (start + end) / 2 + 0.5
        if numbers and middle - taken > 0.025 * boundaries[-1]:
            axes.text(middle, 1.14, str(number), ha="center", va="bottom", fontsize=7.5, weight="bold")
            taken = middle


def draw_values(axes: Axes, row: Row) -> None:
    """Draw V(s_k) at each boundary with its interval."""
    x, value = np.array(row["boundaries"]) + 0.5, np.array(row["values"])
    errors = [value - np.array(row["value_low"]), np.array(row["value_high"]) - value]
    axes.plot(x, value, clip_on=False, zorder=3, **VALUE)
    axes.errorbar(x, value, yerr=errors, fmt="none", ecolor=VALUE["color"], elinewidth=0.9, capsize=2, clip_on=False)
    axes.set_ylim(-0.05, 1.1)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("value")


def draw_deltas(axes: Axes, row: Row) -> None:
    """Draw each paragraph's TD error as a bar over its tokens, with its interval."""
    for k, (start, end) in enumerate(pairwise(row["boundaries"])):
        delta, middle = row["deltas"][k], (start + end) / 2 + 0.5
        axes.bar(middle, delta, width=0.86 * (end - start), **(KEPT if row["kept"][k] else LEFT_OUT))
        error = [[delta - row["delta_low"][k]], [row["delta_high"][k] - delta]]
        axes.errorbar(middle, delta, yerr=error, fmt="none", ecolor="#1c1f24", elinewidth=0.9, capsize=2)
    axes.axhline(0, **ZERO)
    axes.set_ylim(-1.15, 1.15)
    axes.set_yticks([-1, 0, 1])
    axes.set_ylabel("TD error")


def first_neuron(traced: Traced) -> Followed:
    """Return the most important dopamine neuron."""
    return traced.neurons[traced.places("dopamine")[0]]


def draw_activation(axes: Axes, traced: Traced, row: Row) -> None:
    """Draw the oriented activation of the first-ranked neuron at each token, and its mean over each paragraph."""
    place = traced.places("dopamine")[0]
    activation = traced.neurons[place].sign * activations_of(row, len(traced.neurons))[place]
    axes.axhline(0, **ZERO)
    for start, end in pairwise(row["boundaries"]):
        axes.plot([start + 0.7, end + 0.3], [activation[start:end].mean()] * 2, solid_capstyle="butt", **MEAN)
    axes.plot(np.arange(1, len(activation) + 1), activation, **ACTIVATION)
    axes.set_ylabel("activation\n(SD, oriented)")
    axes.set_xlabel("token of the response")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def median_response(traced: Traced, frame: pl.DataFrame) -> dict[str, Any] | None:
    """Choose the validation response with the (lower) median correlation under value ablation, first-ranked neuron.

    Ties go to the first problem and sample. None where no response has a correlation.
    """
    if frame.is_empty() or not traced.places("dopamine"):
        return None
    rows = (
        of_neuron(frame, first_neuron(traced).neuron).filter(pl.col("condition") == "value").drop_nulls("correlation")
    )
    if rows.is_empty():
        return None
    ordered = rows.sort("correlation", "problem_id", "sample")
    return ordered.row((len(ordered) - 1) // 2, named=True)


def of_neuron(frame: pl.DataFrame, neuron: int) -> pl.DataFrame:
    """Select the rows of one neuron over validation responses."""
    return frame.filter((pl.col("split") == "validation") & (pl.col("neuron") == neuron))


def draw_ablated(axes: Axes, traced: Traced, frame: pl.DataFrame, chosen: Row) -> None:
    """Draw trajectories over the chosen response: unablated, value neurons ablated, first draw of random ones."""
    sign = first_neuron(traced).sign
    rows = of_neuron(frame, first_neuron(traced).neuron).filter(
        (pl.col("problem_id") == chosen["problem_id"]) & (pl.col("sample") == chosen["sample"]) & (pl.col("draw") == 0)
    )
    drawn = {row["condition"]: row for row in rows.iter_rows(named=True)}
    same = (pl.col("problem_id") == chosen["problem_id"]) & (pl.col("sample") == chosen["sample"])
    draw_boundaries(axes, traced.responses.filter(same)["boundaries"][0].to_list(), numbers=False)
    axes.axhline(0, **ZERO)
    notes = []
    for name in ("none", "value", "random"):
        if name in drawn:
            line = sign * np.array(drawn[name]["trajectory"])
            axes.plot(np.arange(1, len(line) + 1), line, **CONDITIONS[name])
            if drawn[name]["correlation"] is not None:
                star = "*" if drawn[name]["own_layers"] else ""
                notes.append(f"{LABELS[name]} {drawn[name]['correlation']:.2f}{star}".replace("-", "\N{MINUS SIGN}"))
    starred = "  (*: the neuron's own coordinate is ablated too)" if any(note.endswith("*") for note in notes) else ""
    axes.set_title(
        f"correlation with the unablated: {', '.join(notes)}\n{starred.strip()}".strip(), fontsize=8, loc="left"
    )
    axes.set_xlabel("token of the response")
    axes.set_ylabel("activation (SD, oriented)")
    axes.set_xlim(0.5, len(chosen["trajectory"]) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def draw_correlations(axes: Axes, frame: pl.DataFrame, neuron: int) -> None:
    """Draw for each condition the share of validation responses with a correlation of at most x; draws thin."""
    rows = of_neuron(frame, neuron).drop_nulls("correlation")
    for name in ("value", "random", "random_matched"):
        drawn = rows.filter(pl.col("condition") == name)
        if drawn.is_empty():
            continue
        if drawn["draw"].n_unique() > 1:
            for _, draw in drawn.group_by("draw", maintain_order=True):
                axes.ecdf(draw["correlation"].to_numpy(), **(CONDITIONS[name] | {"linewidth": 0.5, "alpha": 0.8}))
        axes.ecdf(drawn["correlation"].to_numpy(), **CONDITIONS[name])
    axes.set_xlabel("correlation with the unablated")
    axes.set_ylabel("share of responses")
    axes.set_title(f"{rows['problem_id'].n_unique()} validation problems", fontsize=8, loc="left")
    axes.set_ylim(0, 1.02)


def ablation_handles() -> list[Line2D]:
    """Build the legend of figure 10."""
    lines = [Line2D([], [], label=LABELS[name], **style) for name, style in CONDITIONS.items()]
    return [*lines, Line2D([], [], label="one draw", color="#12305e", linewidth=0.5)]
