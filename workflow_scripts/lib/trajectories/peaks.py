"""Whether a peak of a dopamine neuron falls on the paragraph whose TD error it is about (paper, Section 4.4).

A neuron's activation in paragraph k is correlated with the TD error of k, and with those of k - 1 and k + 1, on the
same paragraphs: those that are kept and have both neighbours. Activations that rise anywhere near a TD error follow
all three alike. TD errors of neighbours are related (a value that has risen has less room to rise), so that a neuron
that follows its own paragraph alone is related to its neighbours, too.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from workflow_scripts.lib.statistics.cells import Members
from workflow_scripts.lib.statistics.estimands import SPEARMAN_DIFFERENCE, Size
from workflow_scripts.lib.statistics.intervals import Resampling, finite
from workflow_scripts.lib.statistics.joint import spearman_cell
from workflow_scripts.lib.statistics.joint_intervals import interval
from workflow_scripts.lib.statistics.samples import Sample, size_of

COLUMNS = [
    *("model", "dataset", "layer", "kind", "neighbour", "n", "n_problems", "spearman", "spearman_neighbour"),
    *("difference", "ci_low", "ci_high", "reason"),
]
NEIGHBOURS = {"previous": 1, "next": -1}
"""The neighbours of a paragraph, by how far TD errors are shifted to lie beside its activation."""
PLACE = ("model", "dataset", "layer")
NOBODY = "no kept paragraph lies between two others"


@dataclass(frozen=True)
class Tracked:
    """How neurons of one kind follow the TD error of their `own` paragraph and of each of its neighbours.

    Correlations are `[neurons, 1 + draws]`; `n` counts paragraphs, `size` their problems.
    """

    own: Members
    neighbours: dict[str, Members]
    n: int
    size: Size

    def less(self, other: "Tracked") -> "Tracked":
        """Return the mean over these neurons less each of the others."""
        gaps = {name: mine.mean(0) - other.neighbours[name] for name, mine in self.neighbours.items()}
        return Tracked(self.own.mean(0) - other.own, gaps, self.n, self.size)


def peak_rows(name: str, scores: pl.DataFrame, how: Resampling) -> list[dict[str, object]]:
    """Return rows for dopamine neurons, random ones and their difference, beside either neighbour.

    Args:
        name: name of the table of scores, which names its resamples.
        scores: for each neuron and response, the oriented means over paragraphs beside their TD errors.
        how: resampling.
    """
    if scores.is_empty():
        return []
    sample, rows = Sample.of(name, scores, how), []
    for part in scores.partition_by(PLACE, maintain_order=True):
        found = {kind: tracked(part.filter(pl.col("kind") == kind), sample) for kind in ("dopamine", "random")}
        dopamine, random = found["dopamine"], found["random"]
        found["difference"] = None if dopamine is None or random is None else dopamine.less(random)
        for kind, one in found.items():
            for neighbour in NEIGHBOURS:
                names = part.select(PLACE).row(0, named=True) | {"kind": kind, "neighbour": neighbour}
                rows.append(names | peak_row(one, kind, neighbour, how))
    return rows


def tracked(part: pl.DataFrame, sample: Sample) -> Tracked | None:
    """Correlate the neurons of one kind and run with TD errors; None without a paragraph that has both neighbours."""
    shifted = {name: pl.col("deltas").list.eval(pl.element().shift(by)) for name, by in NEIGHBOURS.items()}
    lists = ["deltas", "kept", "means", *NEIGHBOURS]
    ordered = part.sort("neuron", "problem_id", "sample").with_columns(**shifted)
    paragraphs = ordered.explode(lists).filter(pl.col("kept")).drop_nulls(list(NEIGHBOURS))
    if paragraphs.is_empty():
        return None
    neurons, dataset = paragraphs.partition_by("neuron", maintain_order=True), part["dataset"][0]
    problems = sample.rows(dataset, neurons[0]["problem_id"])
    means = np.stack([one["means"].to_numpy() for one in neurons]).astype(np.float32)
    own, *others = (
        spearman_cell(means, neurons[0][name].to_numpy(), sample.weights(dataset, problems))
        for name in ("deltas", *NEIGHBOURS)
    )
    return Tracked(own, dict(zip(NEIGHBOURS, others, strict=True)), len(problems), size_of(problems))


def peak_row(found: Tracked | None, kind: str, neighbour: str, how: Resampling) -> dict[str, object]:
    """Return one row; random neurons are members, whose spread is part of the interval."""
    if found is None:
        return {"n": 0, "n_problems": 0, "reason": NOBODY}
    other = found.neighbours[neighbour]
    gaps = found.own - other
    sampled, fixed = ((), gaps.mean(0)) if kind == "dopamine" else ((gaps,), None)
    reach = 4.0 if kind == "difference" else 2.0  # of a difference of correlations, and of one of two such differences
    estimand = replace(SPEARMAN_DIFFERENCE, bounds=(-reach, reach))
    one = interval(estimand, [found.size], sampled, fixed, how.confidence)
    row: dict[str, object] = {"n": found.n, "n_problems": found.size.n, "difference": one.value}
    row |= {"ci_low": one.low, "ci_high": one.high, "reason": one.reason}
    for name, values in (("spearman", found.own), ("spearman_neighbour", other)):
        row[name] = finite(values[:, 0].mean())
    return row
