"""Probes trained on shuffled labels: how far true labels exceed them, and an alarm where they beat chance.

A probe that learns shuffled labels has chance as its expectation. Where such probes beat it, held-out problems are not
held out, or the score does not measure what it says: then no level of this study can be believed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t

from workflow_scripts.lib.claims.probe_cells import PARAGRAPH, cell, measured, part_of, table_of
from workflow_scripts.lib.claims.scores import FULL, Scores
from workflow_scripts.lib.statistics.cells import Cell, average
from workflow_scripts.lib.statistics.estimands import AUC_DIFFERENCE, SPEARMAN_DIFFERENCE
from workflow_scripts.lib.statistics.intervals import finite
from workflow_scripts.lib.statistics.joint import CHANCE
from workflow_scripts.lib.statistics.joint_intervals import FEWEST_MEMBERS
from workflow_scripts.lib.storage.identity import Run
from workflow_scripts.lib.storage.result_tables import with_columns

COLUMNS = [
    *("model", "dataset", "place", "metric", "true", "shuffled", "selectivity", "ci_low", "ci_high", "n"),
    *("shuffles", "chance", "p_value", "alarm", "reason"),
]
ALARM = 0.01
"""The p-value below which shuffled labels beat chance."""


def selectivity(scores: Scores) -> pl.DataFrame:
    """Return one row for each run and place: levels with all inputs, averaged over layers."""
    rows = [
        row_of(scores, place, run, pairs)
        for place in ("initial", "final", PARAGRAPH)
        for run in table_of(scores, place).runs()
        if (pairs := pairs_of(scores, place, run))
    ]
    return with_columns(rows, COLUMNS)


def pairs_of(scores: Scores, place: str, run: Run) -> list[tuple[Cell, Cell]]:
    """Return the levels of true and of shuffled labels at each layer where both were scored."""
    found = []
    for layer in table_of(scores, place).layers(run):
        part = part_of(scores, place, run, layer, FULL)
        if part is not None and "shuffled" in part.columns and len(part["shuffled"][0]):
            true, shuffled = (
                cell(scores, place, run, layer, part, measured(scores, place, part, name))
                for name in ("true", "shuffled")
            )
            found.append((true, shuffled))
    return found


def row_of(scores: Scores, place: str, run: Run, pairs: Sequence[tuple[Cell, Cell]]) -> dict[str, Any]:
    """Compare true with shuffled labels in one run, and these with chance: a two-sided t-test over the shuffles."""
    kind, chance = (SPEARMAN_DIFFERENCE, 0.0) if place == PARAGRAPH else (AUC_DIFFERENCE, CHANCE)
    gaps = [Cell(run, true.layer, true.size, (*true.sampled, -shuffled.sampled[0])) for true, shuffled in pairs]
    gap = average(kind, gaps, scores.confidence)
    assert gap is not None
    levels = np.mean([shuffled.sampled[0][:, 0] for _, shuffled in pairs], axis=0)
    enough = len(levels) >= FEWEST_MEMBERS
    p_value = beats_chance(levels, chance) if enough else None
    few = None if enough else f"only {len(levels)} shuffles; an alarm needs {FEWEST_MEMBERS}"
    return {
        "model": run[0],
        "dataset": run[1],
        "place": place,
        "metric": "spearman" if place == PARAGRAPH else "auc",
        "true": finite(np.mean([true.total[0] for true, _ in pairs])),
        "shuffled": finite(levels.mean()),
        "selectivity": gap.value,
        "ci_low": gap.low,
        "ci_high": gap.high,
        "n": gap.n,
        "shuffles": len(levels),
        "chance": chance,
        "p_value": p_value,
        "alarm": p_value is not None and p_value < ALARM,
        "reason": few or gap.reason,
    }


def beats_chance(levels: np.ndarray, chance: float) -> float | None:
    """Return the p-value of Student's t that shuffles have chance as their mean; None where it is undefined."""
    spread = levels.std(ddof=1) / np.sqrt(len(levels))
    if not np.isfinite(spread):
        return None
    if spread == 0:
        return 1.0 if levels[0] == chance else 0.0
    return float(2 * t.sf(abs(levels.mean() - chance) / spread, len(levels) - 1))
