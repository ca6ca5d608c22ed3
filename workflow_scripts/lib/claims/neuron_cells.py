"""Cells of single neurons: how they follow TD errors, and what ablation of earlier layers leaves of that."""

import numpy as np
import polars as pl
from jaxtyping import Float

from workflow_scripts.lib.claims.scores import Scores
from workflow_scripts.lib.statistics.cells import Cell, Draws, Members
from workflow_scripts.lib.statistics.intervals import Array
from workflow_scripts.lib.statistics.joint import mean_cell, spearman_cell
from workflow_scripts.lib.statistics.samples import Sample, by_problem, size_of
from workflow_scripts.lib.storage.identity import Run

SIDES = ["correlation", "correlation_other"]


def tracking(scores: Scores, run: Run, layer: int) -> Cell | None:
    """Return the mean Spearman correlation of single dopamine neurons with TD errors."""
    found = followed(scores, run, layer, "dopamine")
    return None if found is None else Cell(run, layer, size_of(found[1]), fixed=found[0].mean(0))


def tracking_above_random(scores: Scores, run: Run, layer: int) -> Cell | None:
    """Return the same less the correlation of each random neuron, a member a neuron."""
    found, random = (followed(scores, run, layer, kind) for kind in ("dopamine", "random"))
    if found is None or random is None:
        return None
    return Cell(run, layer, size_of(found[1]), (found[0].mean(0) - random[0],))


def followed(scores: Scores, run: Run, layer: int, kind: str) -> tuple[Members, Array] | None:
    """Return the correlation of each followed neuron of a kind, and the problem of each paragraph."""
    table = scores.tables["trajectories"]
    part = table.parts.get((*run, layer, kind))
    return None if part is None else correlations(part, table.sample)


def correlations(part: pl.DataFrame, sample: Sample) -> tuple[Members, Array] | None:
    """Return the correlation of each neuron with the TD errors of kept paragraphs, and the paragraphs' problems."""
    kept = part.explode("deltas", "kept", "means").filter(pl.col("kept"))
    if kept.is_empty():
        return None
    neurons, dataset = kept.partition_by("neuron", maintain_order=True), part["dataset"][0]
    problems = sample.rows(dataset, neurons[0]["problem_id"])
    means = np.stack([one["means"].to_numpy() for one in neurons]).astype(np.float32)
    errors = neurons[0]["deltas"].cast(pl.Float64).to_numpy()
    return spearman_cell(means, errors, sample.weights(dataset, problems)), problems


def coupling(scores: Scores, run: Run, layer: int, measure: str, against: str) -> Cell | None:
    """Return what is left with value neurons ablated less what is left with others ablated, a member a draw of those.

    `correlation_apart`: correlation with the unablated trajectory, over neurons whose own coordinate neither condition
    ablates, because an ablated coordinate is no longer the same signal. `spearman`: correlation with TD errors.
    """
    parts = scores.tables["ablated"].parts
    value = parts.get((*run, layer, "value", 0))
    if value is None:
        return None
    compare = tracking_gap if measure == "spearman" else shape_gap
    others = [part for key, part in parts.items() if key[:4] == (*run, layer, against)]
    found = [gap for other in others if (gap := compare(scores, value, other)) is not None]
    return Cell(run, layer, size_of(found[0][1]), (np.stack([gap for gap, _ in found]),)) if found else None


def tracking_gap(scores: Scores, value: pl.DataFrame, other: pl.DataFrame) -> tuple[Draws, Array] | None:
    """Return the difference of mean correlations with TD errors, and the problem of each paragraph."""
    keys = ["neuron", "problem_id", "sample"]
    table = scores.tables["trajectories"]
    unablated = table.parts[(*value.select("model", "dataset", "layer").row(0), "dopamine")]
    sides = [
        correlations(part.join(unablated.select(*keys, "deltas", "kept"), on=keys, maintain_order="left"), table.sample)
        for part in (value, other)
    ]
    if sides[0] is None or sides[1] is None:
        return None
    return sides[0][0].mean(0) - sides[1][0].mean(0), sides[0][1]


def shape_gap(scores: Scores, value: pl.DataFrame, other: pl.DataFrame) -> tuple[Draws, Array] | None:
    """Return the difference of mean correlations with the unablated trajectory, and the problems.

    A trajectory that one condition made constant correlates at 0; a response where both are undefined has no shape.
    """
    both = value.join(other, on=["neuron", "problem_id", "sample"], suffix="_other", maintain_order="left")
    apart = both.filter(pl.col("own_layers") == 0, pl.col("own_layers_other") == 0)
    apart = apart.with_columns(pl.col(SIDES).fill_nan(None)).filter(~pl.all_horizontal(pl.col(SIDES).is_null()))
    gaps = apart.with_columns(gap=pl.col("correlation").fill_null(0) - pl.col("correlation_other").fill_null(0))
    if gaps.is_empty():
        return None
    dataset, sample = value["dataset"][0], scores.tables["ablated"].sample
    problems, means = by_problem(sample, dataset, gaps, "gap")
    found: Float[Array, "1 draws"] = mean_cell(means, sample.weights(dataset, problems))
    return found[0], problems
