"""From all evaluated prunings of one run to one row per point of a curve, with its controls."""

from pathlib import Path

import polars as pl

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.storage.identity import Run
from workflow_scripts.lib.storage.tables import read_parquet

RUN = ["model", "dataset"]
"""The columns that name a run."""


def curve_keys(metric: str) -> list[str]:
    """Return the columns that identify a point of a curve: only value probes (`auc`) are scored at two positions."""
    return ["layer", "position", "prune_ratio"] if metric == "auc" else ["layer", "prune_ratio"]


def summarise_curves(pruning: pl.DataFrame, metric: str, confidence: float) -> pl.DataFrame:
    """Return one row per layer (and position) and prune ratio.

    The metric is the mean over seeds with the interval of that mean (rows with seed -1). `random_mean`, `random_low`
    and `random_high` are the mean and the quantiles (2.5 and 97.5 % at `confidence` 0.95) over draws and seeds of
    probes that keep random inputs; `shuffled` is the mean over probes trained on shuffled labels; `retrained` over
    probes trained again on the kept inputs.

    Raises:
        UserError: the rows with seed -1 are missing.
    """
    keys = curve_keys(metric)
    true, ranked = pl.col("labels") == "true", pl.col("kept") == "importance"
    means = pruning.filter(true & ranked & (pl.col("seed") == -1))
    if means.is_empty():
        raise UserError(
            "pruning file: no row with seed -1 (the mean over seeds with its interval); delete it and run again"
        )
    single = pruning.filter(pl.col("seed") != -1)
    value = pl.col(metric).cast(pl.Float64)
    random = single.filter(true & (pl.col("kept") == "random")).group_by(keys)
    controls = [
        single.filter(true & ranked).group_by(keys).agg(pl.col("seed").n_unique().alias("n_seeds")),
        random.agg(
            value.mean().alias("random_mean"),
            value.quantile((1 - confidence) / 2, "linear").alias("random_low"),
            value.quantile((1 + confidence) / 2, "linear").alias("random_high"),
        ),
        single.filter((pl.col("labels") == "shuffled") & ranked)
        .group_by(keys)
        .agg(value.mean().alias("shuffled"), pl.col("seed").n_unique().alias("n_shuffled")),
        single.filter(true & (pl.col("kept") == "retrained")).group_by(keys).agg(value.mean().alias("retrained")),
    ]
    table = means.select(*keys, "n_kept", value, "ci_low", "ci_high", "reason")
    for control in controls:
        table = table.join(control, on=keys, how="left", maintain_order="left")
    return table.sort(keys)


CONTROLS = "ci_low ci_high random_mean random_low random_high shuffled"
TAIL = "n_seeds n_shuffled retrained reason"
PRUNING_VALUE_COLUMNS = (
    f"model dataset layer position prune_ratio n_kept auc {CONTROLS} n_validation n_right {TAIL}".split()
)
PRUNING_DOPAMINE_COLUMNS = (
    f"model dataset layer prune_ratio n_kept spearman {CONTROLS} noise_ceiling n_validation {TAIL}".split()
)


def pruning_table(files: dict[Run, list[Path]], metric: str, extra: pl.DataFrame, confidence: float) -> pl.DataFrame:
    """Tabulate the curves of all runs with their controls; `extra` adds columns by model and data set."""
    frames = [
        summarise_curves(read_parquet(paths), metric, confidence).with_columns(
            model=pl.lit(run[0]), dataset=pl.lit(run[1])
        )
        for run, paths in files.items()
    ]
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(RUN, pl.String))
    return pl.concat(frames, how="diagonal_relaxed").join(extra, on=RUN, how="left", maintain_order="left")


def correct_counts(rollouts: dict[Run, pl.DataFrame], splits: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Count the validation responses of each run, and how many of them are correct."""
    counts = []
    for (model, dataset), frame in rollouts.items():
        part = frame.join(splits[dataset], on="problem_id", how="left").filter(pl.col("split") == "validation")
        counts.append((model, dataset, len(part), int(part["reward"].cast(pl.Int64).sum())))
    schema = {"model": pl.String, "dataset": pl.String, "n_validation": pl.Int64, "n_right": pl.Int64}
    return pl.DataFrame(counts, schema=schema, orient="row")
