"""Claims about sets of neurons: their unit is the probe seed, because sets are no functions of validation problems."""

from collections.abc import Callable

import numpy as np
import polars as pl

from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.decide import Decision, decide, unmeasured
from workflow_scripts.lib.claims.scores import SPARSE, Scores, runs_in
from workflow_scripts.lib.statistics.set_overlap import by_seeds, overlap_interval

LEAST_RATIO = 0.9
"""Prune ratio from which kept inputs count as sparse; the overlap is averaged over the ratios from here on."""


def shared(across: str, kind: str) -> Callable[[Scores, Claim], Decision]:
    """Make a test whether probes of other data sets or models find the same neurons, above chance by the margin."""

    def judge(scores: Scores, claim: Claim) -> Decision:
        table = scores.overlap
        if len(table):
            sparse = pl.col("prune_ratio").is_between(LEAST_RATIO, SPARSE)
            table = table.filter(pl.col("across") == across, pl.col("kind") == kind, sparse)
            table = table.filter(pl.col("layer").is_in(claim.named(table["layer"].unique().to_list())))
        if table.is_empty():
            return unmeasured(claim.margin, claim.estimand)
        keys = [name for name in table.columns if name not in ("seed_a", "seed_b", "iou")]
        cells = list(table.partition_by(keys, maintain_order=True))
        matrices, chances = [by_seeds(cell) for cell in cells], [float(cell["expected"][0]) for cell in cells]
        smallest = min(cell["n_kept"][0] for cell in cells)
        found = overlap_interval(matrices, chances, smallest, scores.confidence)
        return decide(found, claim.margin, claim.direction, claim.estimand)

    return judge


def distinct(scores: Scores, claim: Claim) -> Decision:
    """Judge which share of each value probe's neurons are also next-token neurons."""
    cells, sizes = [], []
    for run in runs_in(scores.selected):
        of_run = (pl.col("model") == run[0]) & (pl.col("dataset") == run[1])
        chosen = scores.selected.filter(of_run, pl.col("selection") == "ntp", pl.col("share") == scores.share)
        for layer in claim.named(chosen["layer"].unique().sort().to_list()):
            other = set(chosen.filter(pl.col("layer") == layer)["neurons"][0])
            ranks = scores.neurons.filter(of_run, pl.col("kind") == "value", pl.col("layer") == layer)
            best = ranks.filter(pl.col("rank") <= len(other)).partition_by("seed", maintain_order=True)
            shares = np.array([len(other & set(one["neuron"])) / len(other) for one in best])
            pairs = np.repeat(shares[:, None], len(shares), axis=1)
            np.fill_diagonal(pairs, np.nan)
            cells.append(pairs)
            sizes.append(len(other))
    if not cells:
        return unmeasured(claim.margin, claim.estimand)
    found = overlap_interval(cells, [0.0] * len(cells), min(sizes), scores.confidence)
    return decide(found, claim.margin, claim.direction, claim.estimand)
