"""The paper's Table 1 in numbers: value and dopamine neurons side by side, averages over runs and layers."""

from collections.abc import Callable

import polars as pl

from workflow_scripts.lib.claims.probe_cells import PARAGRAPH, level, random_level, table_of
from workflow_scripts.lib.claims.scores import SPARSE, Scores
from workflow_scripts.lib.statistics.cells import Cell, average
from workflow_scripts.lib.statistics.estimands import AUC, SPEARMAN
from workflow_scripts.lib.statistics.joint_intervals import Interval
from workflow_scripts.lib.storage.identity import Run
from workflow_scripts.lib.storage.result_tables import with_columns

COLUMNS = ["neurons", "place", "inputs", "metric", "value", "ci_low", "ci_high", "n", "reason"]
PLACES = {"initial": "value", "final": "value", PARAGRAPH: "dopamine"}
INPUTS: dict[str, Callable[[Scores, str, Run, int], Cell | None]] = {
    "all": level,
    "one percent, by importance": lambda scores, place, run, layer: level(scores, place, run, layer, SPARSE),
    "one percent, random": random_level,
}


def table1(scores: Scores) -> pl.DataFrame:
    """Return one row for each place and choice of inputs: the level averaged over all runs and layers of the study."""
    rows: list[dict[str, object]] = []
    for place, neurons in PLACES.items():
        table, kind = table_of(scores, place), SPEARMAN if place == PARAGRAPH else AUC
        at = [(run, layer) for run in table.runs() for layer in table.layers(run)]
        for inputs, make in INPUTS.items():
            cells = [cell for run, layer in at if (cell := make(scores, place, run, layer)) is not None]
            names = {"neurons": neurons, "place": place, "inputs": inputs}
            names["metric"] = "auc" if kind is AUC else "spearman"
            rows.append(names | row_of(average(kind, cells, scores.confidence)))
    return with_columns(rows, COLUMNS)


def row_of(found: Interval | None) -> dict[str, object]:
    """Return the number of a row with its limits, or why there is none."""
    if found is None:
        return {"reason": "not measured"}
    limits = {"value": found.value, "ci_low": found.low, "ci_high": found.high}
    return limits | {"n": found.n, "reason": found.reason}
