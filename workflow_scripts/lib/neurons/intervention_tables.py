"""Tables of the effect of interventions on accuracy: Tables 2 and 5, contrasts, overlaps, dose-response."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from workflow_scripts.lib.config.sections import Interventions
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.neurons.catalogue import SELECTIONS, is_random
from workflow_scripts.lib.neurons.conditions import dose_kinds, kind_table, table_kinds
from workflow_scripts.lib.neurons.intervention_averages import UNMASKED_ITSELF, average_rows
from workflow_scripts.lib.neurons.masked_runs import CONDITION, RESPONSE, SCORES, TWIN, read_run, words
from workflow_scripts.lib.statistics.bootstrap import accuracy
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.statistics.paired import ONE_DRAW, change, contrast, overlap
from workflow_scripts.lib.storage.identity import Run, group_by_run
from workflow_scripts.lib.storage.result_tables import with_columns
from workflow_scripts.lib.storage.tables import read_about, read_parquet

TABLE_COLUMNS = [
    *("model", "dataset", "layer", "selection", "draw", "n_neurons", "n", "accuracy", "change", "ci_low", "ci_high"),
    *("p_value", "change_low", "change_high", "unmasked", "truncated", "mean_tokens", "share", "mode"),
    *("largest_miss", "reason"),
]
CONTRAST_COLUMNS = [
    *("model", "dataset", "layer", "against", "n_draws", "n", "accuracy_value", "accuracy_other", "difference"),
    *("ci_low", "ci_high", "p_value", "reason"),
]
OVERLAP_COLUMNS = [
    *("model", "dataset", "layer", "share", "first", "second", "draw", "n_neurons", "shared", "overlap", "chance"),
    *("chance_high", "p_value"),
]
DOSE_COLUMNS = [
    *("model", "dataset", "layer", "selection", "draw", "share", "mode", "factor", "n_neurons", "n", "accuracy"),
    *("ci_low", "ci_high", "change", "change_low", "change_high", "p_value", "largest_miss", "reason"),
]
SCORE_COLUMNS = ["model", "dataset", *CONDITION, "n_neurons", *RESPONSE, *SCORES, *TWIN]
MASKS = "masks"
"""The table of scores: every response under every condition, beside its unmasked twin."""
ORDER = {name: place for place, name in enumerate(SELECTIONS)}
UNDRAWN = [name for name in CONDITION if name != "draw"]
"""The columns of a condition that the configuration fixes; draws are listed in the files."""
TABLE_5 = ["none", "value", "value_final", "random"]


@dataclass(frozen=True)
class Settings(Resampling):
    """The part of the configuration that the tables depend on."""

    study: Interventions


def table_conditions(study: Interventions) -> pl.DataFrame:
    """Tabulate the conditions of Tables 2 and 5."""
    return kind_table(study.layers, table_kinds(study))


def dose_conditions(study: Interventions) -> pl.DataFrame:
    """Tabulate the conditions of the dose-response."""
    return kind_table(study.dose_layers, dose_kinds(study))


def result_row(run: Run, part: pl.DataFrame, settings: Settings) -> dict[str, object]:
    """Return problems, accuracy with its interval, truncated responses and tokens of one condition.

    Also used for the unmasked run.
    """
    row: dict[str, object] = {"model": run[0], "dataset": run[1], "n": part["problem_id"].n_unique()}
    row |= dict(zip(("accuracy", "ci_low", "ci_high"), accuracy(part, settings) or (None, None, None), strict=True))
    row["truncated"] = part["truncated"].cast(pl.Float64).mean()
    return row | {"mean_tokens": part["tokens"].cast(pl.Float64).mean()}


def groups_of(part: pl.DataFrame) -> np.ndarray:
    """Return the number of each response's problem."""
    return part["problem_id"].rank("dense").to_numpy()


def condition_rows(run: Run, scores: pl.DataFrame, checks: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """Return one row for each condition of a run, with its change against the unmasked run and its mask check."""
    rows = []
    for key, part in scores.group_by(CONDITION, maintain_order=True):
        row = result_row(run, part, settings) | dict(zip(CONDITION, key, strict=True))
        masked_rewards, unmasked_rewards = (part[name].cast(pl.Float64).to_numpy() for name in ("reward", "unmasked"))
        tested = change(masked_rewards, unmasked_rewards, groups_of(part), settings)
        row |= {
            "n_neurons": part["n_neurons"][0],
            "unmasked": float(unmasked_rewards.mean()),
            "p_value": tested.p_value,
        }
        row |= {"change": tested.found.value, "change_low": tested.found.low, "change_high": tested.found.high}
        rows.append(row | {"reason": f"change: {tested.found.reason}" if tested.found.reason else None})
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return frame.join(checks, on=CONDITION, how="left", maintain_order="left")


def unmasked_rows(run: Run, scores: pl.DataFrame, layers: Sequence[int], settings: Settings) -> list[dict[str, object]]:
    """Return rows of the unmasked run on the same problems, one for each layer."""
    twins = scores.unique(RESPONSE, maintain_order=True).select(*RESPONSE, **{own: name for name, own in TWIN.items()})
    row = result_row(run, twins.sort(RESPONSE), settings) | {"selection": "none", "draw": 0, "n_neurons": 0}
    row["change"] = 0.0
    row |= {"unmasked": row["accuracy"], "share": 0.0, "mode": "none", "factor": 1.0}
    row["reason"] = UNMASKED_ITSELF
    return [row | {"layer": layer} for layer in layers]


def chosen(frame: pl.DataFrame, conditions: pl.DataFrame, run: Run, unmasked: list[dict[str, object]]) -> pl.DataFrame:
    """Return the rows of the conditions and the unmasked ones, in the order of layers, selections, draws and doses.

    Raises:
        UserError: there are no responses under one of the conditions.
    """
    missing = conditions.join(frame, on=UNDRAWN, how="anti")
    if len(missing):
        name = words(missing.to_dicts()[0] | {"draw": 0})
        raise UserError(f"results/masked/{run[0]}/{run[1]}: {name}: no responses; delete the folder and run again")
    rows = frame.join(conditions, on=UNDRAWN, how="semi", maintain_order="left")
    if unmasked:
        rows = pl.concat([rows, pl.DataFrame(unmasked, infer_schema_length=None)], how="diagonal_relaxed")
    place = pl.col("selection").replace_strict(ORDER, return_dtype=pl.Int64)
    return rows.sort("layer", place, "draw", pl.col("mode") == "scale", "share", "factor")


def contrast_rows(run: Run, scores: pl.DataFrame, settings: Settings) -> list[dict[str, object]]:
    """Compare value neurons with every other selection, layer by layer; draws of one selection count together."""
    study = settings.study
    table = scores.join(table_conditions(study), on=UNDRAWN, how="semi", maintain_order="left")
    rows = []
    for layer in study.layers if "value" in study.selections else []:
        value = table.filter((pl.col("layer") == layer) & (pl.col("selection") == "value"))
        rewards = value["reward"].cast(pl.Float64).to_numpy()
        for against in sorted(set(study.selections) - {"value"}, key=ORDER.__getitem__):
            other = table.filter((pl.col("layer") == layer) & (pl.col("selection") == against))
            drawn = [
                part["reward"].cast(pl.Float64).to_numpy() for _, part in other.group_by("draw", maintain_order=True)
            ]
            tested = contrast(rewards, np.stack(drawn, axis=1), groups_of(value), settings)
            estimate = tested.found
            reason = estimate.reason or (ONE_DRAW if is_random(against) and len(drawn) == 1 else None)
            row = {"model": run[0], "dataset": run[1], "layer": layer, "against": against, "n_draws": len(drawn)}
            row |= {"n": value["problem_id"].n_unique(), "accuracy_value": float(rewards.mean())}
            row |= {"accuracy_other": float(np.mean(drawn)), "difference": estimate.value}
            row |= {"ci_low": estimate.low, "ci_high": estimate.high, "p_value": tested.p_value, "reason": reason}
            rows.append(row)
    return rows


def score_rows(run: Run, responses: pl.DataFrame) -> pl.DataFrame:
    """Return the score of every response of a run under every condition, with that of its unmasked twin."""
    names = {key: pl.lit(name) for key, name in zip(("model", "dataset"), run, strict=True)}
    return responses.with_columns(**names).select(SCORE_COLUMNS)


def overlap_rows(run: Run, path: Path, settings: Settings) -> list[dict[str, object]]:
    """Compare the value neurons with every other set of the same layer and share."""
    width = int(read_about(path, ["width"])["width"])
    table = read_parquet(path).filter(pl.col("share") == settings.study.share)
    place = pl.col("selection").replace_strict(ORDER, return_dtype=pl.Int64)
    sets = table.filter(pl.col("layer").is_in(settings.study.layers)).sort("layer", place, "draw").to_dicts()
    value = {row["layer"]: set(row["neurons"]) for row in sets if row["selection"] == "value"}
    rows = []
    for row in sets:
        if row["selection"] == "value" or row["layer"] not in value:
            continue
        shared = overlap(value[row["layer"]], set(row["neurons"]), width, settings.confidence)
        names = {"model": run[0], "dataset": run[1], "first": "value", "second": row["selection"]}
        rows.append(names | {name: row[name] for name in ("layer", "share", "draw")} | vars(shared))
    return rows


def stacked(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Join the rows of all runs."""
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


def tabulate(arguments: argparse.Namespace, settings: Settings) -> dict[str, pl.DataFrame]:
    """Return all five tables and the scores that they are computed from, runs in the order of their names.

    Raises:
        UserError: the neurons of a masked run are not given.
    """
    study = settings.study
    mask_checks, rollouts = group_by_run(arguments.proofs, "layer"), group_by_run(arguments.rollouts, "shard")
    neurons = group_by_run(arguments.neurons, "file")
    masked = {}
    for run, paths in sorted(group_by_run(arguments.masked, "layer").items()):
        if run not in neurons:
            raise UserError(f"--neurons: no file {run[0]}/{run[1]}.parquet; pass the neurons of every masked run")
        masked[run] = read_run(paths, mask_checks.get(run, []), rollouts.get(run, []))
    scores = stacked([score_rows(run, one.responses) for run, one in masked.items()])
    tables: list[pl.DataFrame] = []
    doses: list[pl.DataFrame] = []
    contrasts: list[dict[str, object]] = []
    overlaps: list[dict[str, object]] = []
    for run, one in masked.items():
        of_run = scores.filter(pl.col("model") == run[0], pl.col("dataset") == run[1])
        frame = condition_rows(run, of_run, one.mask_checks, settings)
        unmasked = [unmasked_rows(run, of_run, layers, settings) for layers in (study.layers, study.dose_layers)]
        tables.append(chosen(frame, table_conditions(study), run, unmasked[0]))
        doses.append(chosen(frame, dose_conditions(study), run, unmasked[1]))
        contrasts += contrast_rows(run, of_run, settings)
        overlaps += overlap_rows(run, neurons[run][0], settings)
    averages = [average_rows(MASKS, scores, table_conditions(study), settings)] if masked else []
    results = with_columns(stacked([*tables, *averages]), TABLE_COLUMNS)
    return {
        "table2": results.filter(pl.col("selection") != "value_final"),
        "table5": results.filter(pl.col("selection").is_in(TABLE_5)),
        "intervention_contrasts": with_columns(contrasts, CONTRAST_COLUMNS),
        "neuron_overlap": with_columns(overlaps, OVERLAP_COLUMNS),
        "dose_response": with_columns(stacked(doses), DOSE_COLUMNS),
        MASKS: with_columns(scores, SCORE_COLUMNS),
    }
