"""Claims about sets of neurons: their unit is the probe seed, because sets are no functions of validation problems."""

from collections.abc import Callable

import numpy as np
import polars as pl

from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.comparison import ALONE, Comparisons, OfSets, Overlap
from workflow_scripts.lib.claims.scores import SPARSE, Scores, runs_in
from workflow_scripts.lib.statistics.set_overlap import by_seeds

LEAST_RATIO = 0.9
"""Prune ratio from which kept inputs count as sparse; the overlap is averaged over the ratios from here on."""


def shared(across: str, kind: str) -> Callable[[Scores, Claim], Comparisons]:
    """Compare the neurons that probes of other data sets or models find, above chance."""

    def compare(scores: Scores, claim: Claim) -> Comparisons:
        table = scores.overlap
        if len(table):
            sparse = pl.col("prune_ratio").is_between(LEAST_RATIO, SPARSE)
            table = table.filter(pl.col("across") == across, pl.col("kind") == kind, sparse)
            table = table.filter(pl.col("layer").is_in(claim.named(table["layer"].unique().to_list())))
        if table.is_empty():
            return {ALONE: OfSets([], 0, claim.margin)}
        keys = [name for name in table.columns if name not in ("seed_a", "seed_b", "iou")]
        overlaps = [overlap(cell) for cell in table.partition_by(keys, maintain_order=True)]
        return {ALONE: OfSets(overlaps, int(table["n_kept"].min()), claim.margin)}  # type: ignore[arg-type]

    return compare


def overlap(cell: pl.DataFrame) -> Overlap:
    """Read the overlap of each pair of seeds at one layer and prune ratio."""
    first = cell.row(0, named=True)
    runs = " and ".join(f"{first[f'model_{side}']}/{first[f'dataset_{side}']}" for side in "ab")
    return Overlap(runs, first["layer"], by_seeds(cell), float(first["expected"]))


def distinct(scores: Scores, claim: Claim) -> Comparisons:
    """Measure which share of each value probe's neurons are also next-token neurons."""
    overlaps: list[Overlap] = []
    sizes: list[int] = []
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
            overlaps.append(Overlap("/".join(run), layer, pairs, 0.0))
            sizes.append(len(other))
    return {ALONE: OfSets(overlaps, min(sizes, default=0), claim.margin)}
