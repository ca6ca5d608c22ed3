"""The rows of averages of Tables 2 and 5: accuracy and its change over all layers of a run, and over all runs.

An average is taken within each resample of problems, which all layers share; it is never one of limits. A selection
that changed nothing at a layer counts there as 0. Of random neurons, the draws are members: how they differ is part of
the interval, and fewer than three give none.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl

from workflow_scripts.lib.neurons.catalogue import SELECTIONS, UNMASKED, is_random
from workflow_scripts.lib.statistics.cells import Cell, Members, average
from workflow_scripts.lib.statistics.estimands import ACCURACY, ACCURACY_DIFFERENCE, Size
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.statistics.joint import mean_cell, paired_cell
from workflow_scripts.lib.statistics.samples import Sample, by_problem, size_of
from workflow_scripts.lib.storage.identity import Run
from workflow_scripts.lib.storage.result_tables import ALL

UNMASKED_ITSELF = "the unmasked run itself: no change to test"


def average_rows(name: str, scores: pl.DataFrame, conditions: pl.DataFrame, how: Resampling) -> pl.DataFrame:
    """Return the rows of averages: of each run over its layers and, where there are several runs, over all of them.

    Args:
        name: name of the table of scores, which names its resamples.
        scores: every response under every condition, beside its unmasked twin.
        conditions: those of the tables, by the columns that the configuration fixes.
        how: resampling.
    """
    sample = Sample.of(name, scores, how)
    table = scores.join(conditions, on=conditions.columns, how="semi", maintain_order="left")
    runs = table.select("model", "dataset").unique().sort("model", "dataset").rows()
    groups = [(run, [run]) for run in runs] + ([((ALL, ALL), runs)] if len(runs) > 1 else [])
    found = set(table["selection"])
    rows = [
        {"model": of[0], "dataset": of[1], "selection": selection} | average_row(table, members, selection, sample, how)
        for of, members in groups
        for selection in SELECTIONS
        if selection in found or selection == UNMASKED
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def average_row(
    table: pl.DataFrame, runs: Sequence[Run], selection: str, sample: Sample, how: Resampling
) -> dict[str, object]:
    """Return the average over layers and runs of a selection; runs count alike, however many responses they have."""
    parts = [part for run in runs for part in parts_of(table, run, selection)]
    both = [cells_of(part, selection, sample) for part in parts]
    level, change = (
        average(kind, cells, how.confidence)
        for kind, cells in zip((ACCURACY, ACCURACY_DIFFERENCE), zip(*both, strict=True), strict=True)
    )
    assert level is not None and change is not None
    costs = [costs_of(part, selection) for part in parts]
    row: dict[str, object] = {"n": level.n, "accuracy": level.value, "ci_low": level.low, "ci_high": level.high}
    row |= {key: float(np.mean([one[key] for one in costs])) for key in ("unmasked", "truncated", "mean_tokens")}
    if selection == UNMASKED:
        return row | {"n_neurons": 0, "change": 0.0, "share": 0.0, "mode": "none", "reason": UNMASKED_ITSELF}
    sizes, settings = {part["n_neurons"][0] for part in parts}, parts[0].select("share", "mode").row(0, named=True)
    row |= {"n_neurons": sizes.pop() if len(sizes) == 1 else None, "change": change.value, **settings}
    row |= {"change_low": change.low, "change_high": change.high}
    return row | {"reason": None if change.reason is None else f"change: {change.reason}"}


def parts_of(table: pl.DataFrame, run: Run, selection: str) -> list[pl.DataFrame]:
    """Return the responses of a run with a selection ablated, one table a layer; of none, any condition's."""
    of_run = table.filter(pl.col("model") == run[0], pl.col("dataset") == run[1])
    if selection == UNMASKED:
        return of_run.partition_by("layer", "selection", "draw", maintain_order=True)[:1]
    return of_run.filter(pl.col("selection") == selection).partition_by("layer", maintain_order=True)


def cells_of(part: pl.DataFrame, selection: str, sample: Sample) -> tuple[Cell, Cell]:
    """Return accuracy, and its change against the unmasked twins, at one layer of one run."""
    run = part.select("model", "dataset").row(0)
    draws = part.partition_by("draw", maintain_order=True)
    problems, (unmasked,) = by_problem(sample, run[1], draws[0], "unmasked")
    rewards = np.stack([by_problem(sample, run[1], one, "reward")[1][0] for one in draws])
    rewards = unmasked[None] if selection == UNMASKED else rewards
    size = size_of(problems, unmasked)
    level = mean_cell(rewards, sample.weights(run[1], problems))
    change = paired_cell(rewards - unmasked, sample.of_problems(run[1], problems))
    return cell(run, selection, Size(size.n), level), cell(run, selection, size, change)


def cell(run: Run, selection: str, size: Size, members: Members) -> Cell:
    """Make a cell, whose members are draws where a selection is drawn at random."""
    return Cell(run, None, size, (members,)) if is_random(selection) else Cell(run, None, size, fixed=members[0])


def costs_of(part: pl.DataFrame, selection: str) -> dict[str, float]:
    """Return the unmasked accuracy, the share of truncated responses and their mean length at one layer of one run."""
    twin = "unmasked_" if selection == UNMASKED else ""
    columns = {"unmasked": "unmasked", "truncated": f"{twin}truncated", "mean_tokens": f"{twin}tokens"}
    return {key: float(part[name].cast(pl.Float64).to_numpy().mean()) for key, name in columns.items()}
