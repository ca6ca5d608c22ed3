"""The section on single dopamine neurons: how they follow TD errors, and how they change under ablation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.report.application_section import Figures, Section, Tables, rows_of, section
from workflow_scripts.lib.report.tables import (
    Column,
    difference,
    p_column,
    ranged,
    reason,
    run,
    two,
    view,
    whole,
    words,
)
from workflow_scripts.lib.report.trajectories_page import data_text, page, part, script_hash
from workflow_scripts.lib.trajectories.traces import read_trace

SHOWN = ("fig3", "fig9", "fig10")
LEAD = "Single dopamine neurons over the tokens of responses, with Monte-Carlo values and TD errors."
NEURONS = (
    "Activation of single neurons, averaged over kept paragraphs of validation responses, against "
    "Monte-Carlo TD errors. The sign of each neuron is that of its correlation on training problems. “mean”: "
    "over the neurons of a kind."
)
PEAKS = (
    "Whether peaks fall on the paragraph itself: correlation of a neuron’s activation in a paragraph with the TD error "
    "of that paragraph and with that of the one before or after it, the mean over neurons, on the same kept paragraphs "
    "(those that lie between two others). Intervals resample problems; those of random neurons and of “difference” "
    "(dopamine less random neurons) cover the draw of neurons, too."
)
ABLATION = (
    "The same tokens read again with neurons of earlier layers ablated (set to zero): dopamine neurons compared with "
    "their original activation, and with TD errors."
)
CONTRASTS = (
    "Value neurons ablated less random neurons ablated, mean over draws. “correlation apart” leaves out dopamine "
    "neurons that are themselves among the ablated ones, because the residual stream carries a zero to later layers. "
    "Intervals cover the draws of random neurons; p flips signs of problems and treats the draws as fixed."
)


@dataclass(frozen=True)
class Viewer:
    """The interactive view: its data, style and script, and the hash by which the page allows the script."""

    data: str
    style: str
    script: str
    hash: str


def dopamine_section(tables: Tables, figures: Figures) -> Section:
    """Build the section on how well single neurons follow TD errors, and how ablated value neurons change them."""
    neurons = [run(), words("Layer", "layer"), words("Kind", "kind"), neuron()]
    neurons += [whole("Paragraphs", "n"), ranged("Spearman correlation", "spearman")]
    peaks = [run(), words("Layer", "layer"), words("Kind", "kind"), words("Neighbour", "neighbour")]
    peaks += [whole("Paragraphs", "n"), two("Own paragraph", "spearman"), two("Neighbour’s", "spearman_neighbour")]
    peaks += [difference()]
    ablated = [run(), words("Ablated", "condition"), words("Draw", "draw"), neuron(), whole("Responses", "n")]
    ablated += [ranged("Correlation with the original", "correlation"), ranged("RMSE", "rmse", "rmse_low", "rmse_high")]
    ablated += [ranged("Spearman with TD errors", "spearman", "spearman_low", "spearman_high")]
    contrasts = [run(), words("Against", "against"), words("Measure", "measure"), difference(), p_column()]
    means = [row for row in rows_of(tables, "trajectory_ablation") if row["neuron"] is None]
    listed = [
        view(NEURONS, neurons, rows_of(tables, "trajectories"), notes=reason),
        view(PEAKS, peaks, rows_of(tables, "peaks"), notes=reason),
        view(ABLATION, ablated, means),
        view(CONTRASTS, contrasts, rows_of(tables, "ablation_contrasts"), notes=reason),
    ]
    nothing = "No neuron was traced over responses in this study."
    return section("trajectories", "Trajectories", LEAD, figures.named(*SHOWN), listed, nothing)


def neuron() -> Column:
    """Build the column of neurons, `mean` where the row is one."""
    return Column("Neuron", lambda row: "mean" if row["neuron"] is None else str(row["neuron"]))


def viewer(paths: Sequence[Path], folder: Path, config: dict[str, Any], table: pl.DataFrame | None) -> Viewer | None:
    """Build the interactive view of traced responses; None where there is none. `folder` holds the page's parts."""
    traces = {traced.run: traced for traced in map(read_trace, paths)}
    if not traces:
        return None
    payload = page(traces, config, table)
    if not any(run["responses"] for run in payload["runs"]):
        return None
    script = part("js", folder)
    return Viewer(data_text(payload), part("css", folder), script, script_hash(script))
