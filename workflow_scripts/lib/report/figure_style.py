"""The look of the figures: files that depend on nothing but the data, an axis that opens up 0.9 to 0.99, lines that
differ in lightness, dash and marker so that they can be distinguished in grey.
"""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter

from workflow_scripts.lib.storage.files import atomic_path

STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "hatch.linewidth": 0.5,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
}
LINES: tuple[dict[str, Any], ...] = (
    {"color": "#12305e", "linestyle": "-", "marker": "o"},
    {"color": "#b4470f", "linestyle": (0, (6, 1.6)), "marker": "s"},
    {"color": "#5fb3b3", "linestyle": (0, (3, 1.2)), "marker": "^"},
    {"color": "#7a3b78", "linestyle": (0, (6, 1.5, 1, 1.5)), "marker": "D"},
    {"color": "#9a8b1f", "linestyle": (0, (2, 1)), "marker": "v"},
    {"color": "#2d2d2d", "linestyle": (0, (8, 2)), "marker": "P"},
)
"""One style per layer of a panel, repeated when a panel has more layers."""
RANDOM: dict[str, Any] = {"color": "#6e6e6e", "linestyle": ":", "linewidth": 1.3}
SHUFFLED: dict[str, Any] = {
    "color": "#000000",
    "linestyle": (0, (1, 3)),
    "linewidth": 0.9,
    "marker": "x",
    "markersize": 3.5,
}
CEILING: dict[str, Any] = {"color": "#000000", "linestyle": "-.", "linewidth": 1.0}
CHANCE: dict[str, Any] = {"color": "#9b9b9b", "linestyle": "-", "linewidth": 0.7}
BAND: dict[str, Any] = {"facecolor": "#ededed", "edgecolor": "#b4b4b4", "hatch": "////", "linewidth": 0}
"""The band of random draws is hatched, so that it is no interval even in grey."""
TICKS = (0.0, 0.5, 0.8, 0.9, 0.96, 0.98, 0.99)
SMALLEST_SHARE = 0.002


def kept_share(prune_ratios: Sequence[float]) -> np.ndarray:
    """Place ratios on the axis: the share of inputs kept, on a log scale (a ratio of 1 is at the least share)."""
    return np.maximum(1.0 - np.asarray(prune_ratios, dtype=float), SMALLEST_SHARE)


def stretch_axis(axes: Axes, prune_ratios: Sequence[float], crowded: bool) -> None:
    """Scale and label the horizontal axis: the prune ratio, spaced by the logarithm of what is kept."""
    shares = kept_share(prune_ratios or [0.0, 0.99])
    axes.set_xscale("log")
    axes.set_xlim(max(shares.max(), 0.5) * 1.12, shares.min() * 0.88)
    ticks = [0.0, 0.5, 0.9, 0.99] if crowded else list(TICKS)
    axes.set_xticks(kept_share(ticks), [f"{tick:g}" for tick in ticks])
    axes.set_xticks(kept_share(prune_ratios), minor=True)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(which="minor", length=2, width=0.5)


def explain_empty(axes: Axes, reason: str, width: int) -> None:
    """Write into a panel why it shows no curve."""
    text = textwrap.fill(f"No curve: {reason}.", width)
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color="#333333")


def limits(values: Sequence[float | None], include: float) -> tuple[float, float]:
    """Return vertical limits around all numbers that are there, and around `include`."""
    known = np.array([v for v in values if v is not None and v == v] + [include])
    low, high = float(known.min()), float(known.max())
    margin = 0.05 * max(high - low, 0.2)
    return low - margin, high + margin


def layer_handle(index: int, label: str) -> Line2D:
    """Build the legend entry of the layer drawn in style `index`."""
    return Line2D([], [], markersize=4, linewidth=1.5, label=label, **LINES[index % len(LINES)])


def control_handles(chance: float, ceiling: bool) -> list[Line2D | Patch]:
    """Build the legend entries of everything that is not a layer."""
    handles: list[Line2D | Patch] = [
        Patch(facecolor="#8097ba", alpha=0.45, label="interval of a curve"),
        Line2D([], [], label="inputs kept at random, mean", **RANDOM),
        Patch(label="inputs kept at random, band of the draws", **BAND),
        Line2D([], [], label="trained on shuffled labels", **SHUFFLED),
        Line2D([], [], label=f"chance ({chance:g})", **CHANCE),
    ]
    return [*handles, Line2D([], [], label="noise ceiling", **CEILING)] if ceiling else handles


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write `{name}.pdf`, `.svg` and `.png` with the same bytes each time: no date, no program version, fixed ids."""
    metadata = {
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
        "svg": {"Date": None, "Creator": None},
    }
    for kind in ("pdf", "svg", "png"):
        with atomic_path(folder / f"{name}.{kind}") as path, matplotlib.rc_context({"svg.hashsalt": name}):
            figure.savefig(path, metadata=metadata.get(kind, {"Software": None}), dpi=160)
