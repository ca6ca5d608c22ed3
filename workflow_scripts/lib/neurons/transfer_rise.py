"""Whether the overlap of two runs' neurons rises as the prune ratio approaches 1 (paper, Section 3.5, Figure 2).

Fewer kept neurons share fewer by chance. So the overlap above its expectation is compared between two ratios, on the
same pairs of probes. Its interval leaves out one seed at a time, because sets are no functions of validation problems.
"""

import numpy as np
import polars as pl

from workflow_scripts.lib.neurons.overlap import KEYS, TransferRow
from workflow_scripts.lib.statistics.set_overlap import by_seeds, overlap_interval

FROM, TO = 0.9, 0.99
"""The prune ratios that are compared: where the paper's axis is stretched, and the largest one."""
COLUMNS = (
    *KEYS,
    *("from_ratio", "to_ratio", "d", "iou_from", "iou_to", "above_from", "above_to"),
    *("difference", "ci_low", "ci_high", "n_seeds", "reason"),
)


def rise_rows(pairs: pl.DataFrame, confidence: float) -> list[TransferRow]:
    """Return a row for each pair of runs, kind of probe and layer; none where a study lacks one of the ratios.

    Args:
        pairs: the overlap of each pair of single probes with its expectation (`overlap.pair_rows`).
        confidence: coverage of the intervals.
    """
    groups = pairs.partition_by(KEYS, maintain_order=True) if len(pairs) else []
    ends = [tuple(at_ratio(group, ratio) for ratio in (FROM, TO)) for group in groups]
    return [rise_row(first, last, confidence) for first, last in ends if len(first) and len(last)]


def at_ratio(pairs: pl.DataFrame, ratio: float) -> pl.DataFrame:
    """Return the pairs at a prune ratio."""
    return pairs.filter((pl.col("prune_ratio") - ratio).abs() < 1e-9)


def rise_row(first: pl.DataFrame, last: pl.DataFrame, confidence: float) -> TransferRow:
    """Return the overlap of two runs at both ratios, and the rise of what lies above chance with its interval."""
    matrices, chances = [by_seeds(end) for end in (first, last)], [float(end["expected"][0]) for end in (first, last)]
    found = overlap_interval([matrices[1] - matrices[0]], [chances[1] - chances[0]], int(last["n_kept"][0]), confidence)
    row = first.select(*KEYS, "d").row(0, named=True) | {"from_ratio": FROM, "to_ratio": TO}
    for name, matrix, chance in zip(("from", "to"), matrices, chances, strict=True):
        mean = float(np.nanmean(matrix)) if len(matrix) > 1 else None
        row |= {f"iou_{name}": mean, f"above_{name}": None if mean is None else mean - chance}
    row |= {"difference": found.value, "ci_low": found.low, "ci_high": found.high, "n_seeds": found.n}
    return row | {"reason": found.reason}
