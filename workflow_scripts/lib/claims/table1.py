"""The paper's Table 1 in numbers: value and dopamine neurons side by side, averages over runs and layers."""

from collections.abc import Callable

import polars as pl

from workflow_scripts.lib.claims.cells import Cell, average
from workflow_scripts.lib.claims.evidence import PARAGRAPH, Evidence
from workflow_scripts.lib.claims.scores import FULL, SPARSE, runs_of
from workflow_scripts.lib.statistics.estimands import AUC, SPEARMAN, Interval
from workflow_scripts.lib.storage.identity import Run
from workflow_scripts.lib.storage.result_tables import with_columns

COLUMNS = ["neurons", "place", "inputs", "metric", "value", "ci_low", "ci_high", "n", "reason"]
PLACES = {"initial": "value", "final": "value", PARAGRAPH: "dopamine"}
INPUTS: dict[str, Callable[[Evidence, str, Run, int], Cell | None]] = {
    "all": lambda evidence, place, run, layer: evidence.probe(place, run, layer, FULL),
    "one percent, by importance": lambda evidence, place, run, layer: evidence.probe(place, run, layer, SPARSE),
    "one percent, random": lambda evidence, place, run, layer: evidence.probe_random(place, run, layer, SPARSE),
}


def table1(evidence: Evidence) -> pl.DataFrame:
    """Return one row for each place and choice of inputs: the level averaged over all runs and layers of the study."""
    rows: list[dict[str, object]] = []
    for place, neurons in PLACES.items():
        table, kind = ("dopamine", SPEARMAN) if place == PARAGRAPH else ("value", AUC)
        runs = runs_of(getattr(evidence.scores, table))
        at = [(run, layer) for run in runs for layer in evidence.layers(table, run)]
        for inputs, make in INPUTS.items():
            cells = [cell for run, layer in at if (cell := make(evidence, place, run, layer)) is not None]
            names = {"neurons": neurons, "place": place, "inputs": inputs, "metric": "auc" if kind is AUC else "spearman"}
            rows.append(names | row_of(average(kind, cells, evidence.how.confidence)))
    return with_columns(rows, COLUMNS)


def row_of(found: Interval | None) -> dict[str, object]:
    """Return the number of a row with its limits, or why there is none."""
    if found is None:
        return {"reason": "not measured"}
    limits = {"value": found.value, "ci_low": found.low, "ci_high": found.high}
    return limits | {"n": found.n, "reason": found.reason}
