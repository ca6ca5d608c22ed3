"""Rule `tabulate_results`: the four tables behind the figures and the report, as csv and parquet.

A number that cannot be computed stays empty, and the column `reason` says why.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.probes.curves import RUN, summarise_curves
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import accuracy
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.storage.identity import Run, group_by_run
from workflow_scripts.lib.storage.result_tables import with_columns, write_table
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.values.adaptive import Design, design_of
from workflow_scripts.lib.values.noise_ceiling import kept_ceiling, noise_ceiling

ROLLOUT_COLUMNS = [
    *("model", "dataset", "n", "accuracy", "ci_low", "ci_high", "truncated", "mean_tokens"),
    *("n_responses", "n_validation", "accuracy_validation", "validation_low", "validation_high", "reason"),
]
VALUE_COLUMNS = [
    *("model", "dataset", "paragraphs", "share_kept", "share_positive", "n_continuations", "noise_ceiling"),
    *("noise_ceiling_all", "reliability", "kept", "responses", "continuations", "n_fewest", "n_mean"),
    *("kept_validation", "reason"),
]
CONTROLS = "ci_low ci_high random_mean random_low random_high shuffled"
TAIL = "n_seeds n_shuffled retrained reason"
PRUNING_VALUE_COLUMNS = (
    f"model dataset layer position prune_ratio n_kept auc {CONTROLS} n_validation n_right {TAIL}".split()
)
PRUNING_DOPAMINE_COLUMNS = (
    f"model dataset layer prune_ratio n_kept spearman {CONTROLS} noise_ceiling n_validation {TAIL}".split()
)


@dataclass(frozen=True)
class Settings(Resampling):
    """What of the configuration the tables depend on."""

    gamma: float
    """Discount of the TD errors."""
    min_abs_delta: float
    """The threshold that kept paragraphs pass."""
    design: Design
    """How many continuations a boundary got."""


def rollout_row(run: Run, rollouts: pl.DataFrame, splits: pl.DataFrame, settings: Settings) -> dict[str, object]:
    """One row of the rollouts table: all problems, and the validation part beside them."""
    joined = rollouts.join(splits, on="problem_id", how="left")
    validation = joined.filter(pl.col("split") == "validation")
    row: dict[str, object] = {"model": run[0], "dataset": run[1], "n": rollouts["problem_id"].n_unique()}
    row |= {"n_responses": len(rollouts), "n_validation": validation["problem_id"].n_unique()}
    row["truncated"] = rollouts["truncated"].cast(pl.Float64).mean()
    row["mean_tokens"] = rollouts["response_ids"].list.len().cast(pl.Float64).mean()
    row["reason"] = one_class_reason(validation)
    for names, part in (
        (("accuracy", "ci_low", "ci_high"), rollouts),
        (("accuracy_validation", "validation_low", "validation_high"), validation),
    ):
        row |= dict(zip(names, accuracy(part, settings) or (None, None, None), strict=True))
    return row


def one_class_reason(validation: pl.DataFrame) -> str | None:
    """Why no probe can be judged on these responses, if so."""
    if validation.is_empty():
        return "no validation problem"
    share = validation["reward"].cast(pl.Float64).mean()
    if share == 1:
        return "all answers of the validation problems are right: no probe can be judged"
    return "all answers of the validation problems are wrong: no probe can be judged" if share == 0 else None


def value_row(run: Run, values: pl.DataFrame, splits: pl.DataFrame, settings: Settings) -> dict[str, object]:
    """One row of the values table.

    Of the continuations of a boundary, `n_continuations` is the largest number, `n_fewest` the smallest, `n_mean` the
    mean; they differ where the design is adaptive. `noise_ceiling` is that of the paragraphs the dopamine probe is
    scored on: kept ones of validation problems, with the picking by their own noisy TD errors simulated.
    `noise_ceiling_all` is the split-half ceiling of all validation paragraphs, and `reliability` its square.
    """
    joined = values.join(splits, on="problem_id", how="left", maintain_order="left")
    deltas = joined.filter(pl.col("delta").is_not_null())
    kept = deltas.filter(pl.col("kept"))
    validation = deltas.filter(pl.col("split") == "validation")
    row: dict[str, object] = {"model": run[0], "dataset": run[1], "paragraphs": len(deltas), "kept": len(kept)}
    row["share_kept"] = len(kept) / len(deltas) if len(deltas) else None
    row["share_positive"] = float((kept["delta"] > 0).mean()) if len(kept) else None  # type: ignore[arg-type]
    numbers = values.filter(pl.col("n") > 0)["n"]  # the end of a response has its reward
    row |= {"n_continuations": values["n"].max(), "n_fewest": numbers.min(), "n_mean": numbers.mean()}
    row["responses"] = values.select("problem_id", "sample").n_unique()
    row["continuations"] = values["n"].sum()
    row["kept_validation"] = int(validation["kept"].sum())
    half_a, half_b, delta = (validation[name].to_numpy() for name in ("delta_half_a", "delta_half_b", "delta"))
    everything = noise_ceiling(half_a, half_b, delta=delta if settings.design.adaptive else None)
    row |= {"noise_ceiling_all": everything.ceiling, "reliability": everything.reliability}
    row["reason"] = value_reason(row)
    if row["reason"] is None:
        part = joined.filter(pl.col("split") == "validation")
        rng = generator(settings.seed, "ceiling", *run)
        found = kept_ceiling(part, settings.design, settings.gamma, settings.min_abs_delta, rng)
        row["noise_ceiling"] = found.value
        row["reason"] = f"no noise ceiling: {found.reason}" if found.reason else None
    return row


def value_reason(row: dict[str, object]) -> str | None:
    """Why no dopamine probe can be judged on these paragraphs, if so."""
    if not row["paragraphs"]:
        return "no paragraph: no dopamine probe can be judged"
    if not row["kept"]:
        return "no paragraph passes the threshold: no dopamine probe can be judged"
    if not row["kept_validation"]:
        return "no paragraph of the validation problems passes the threshold: no dopamine probe can be judged"
    return None


def pruning_table(files: dict[Run, list[Path]], metric: str, extra: pl.DataFrame, confidence: float) -> pl.DataFrame:
    """Curves of all runs with their controls; `extra` adds columns by model and data set."""
    frames = [
        summarise_curves(read_parquet(paths), metric, confidence).with_columns(
            model=pl.lit(run[0]), dataset=pl.lit(run[1])
        )
        for run, paths in files.items()
    ]
    if not frames:
        return pl.DataFrame(schema=dict.fromkeys(RUN, pl.String))
    return pl.concat(frames, how="diagonal_relaxed").join(extra, on=RUN, how="left", maintain_order="left")


def right_counts(rollouts: dict[Run, pl.DataFrame], splits: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """Validation responses and how many of them are right, for each run."""
    rows = []
    for (model, dataset), frame in rollouts.items():
        part = frame.join(splits[dataset], on="problem_id", how="left").filter(pl.col("split") == "validation")
        rows.append((model, dataset, len(part), int(part["reward"].cast(pl.Int64).sum())))
    schema = {"model": pl.String, "dataset": pl.String, "n_validation": pl.Int64, "n_right": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def split_of(dataset: str, splits: dict[str, pl.DataFrame]) -> pl.DataFrame:
    """The split of a data set's problems.

    Raises:
        UserError: no problems file was given for the data set.
    """
    if dataset not in splits:
        advice = "pass the problems of every data set that has rollouts"
        raise UserError(f"--problems: no files {dataset}/*.parquet; {advice}")
    return splits[dataset]


def tabulate(arguments: argparse.Namespace, settings: Settings) -> dict[str, pl.DataFrame]:
    """All four tables."""
    paths_of: dict[str, list[Path]] = {}
    for path in arguments.problems:
        paths_of.setdefault(path.parent.name, []).append(path)
    splits = {dataset: read_parquet(paths).select("problem_id", "split") for dataset, paths in paths_of.items()}
    columns = ["problem_id", "reward", "truncated", "response_ids"]
    rollouts = {
        run: read_parquet(paths).select(columns) for run, paths in group_by_run(arguments.rollouts, "shard").items()
    }
    values = {run: read_parquet(paths) for run, paths in group_by_run(arguments.values, "file").items()}
    rollout_rows = [rollout_row(run, frame, split_of(run[1], splits), settings) for run, frame in rollouts.items()]
    value_rows = [value_row(run, frame, split_of(run[1], splits), settings) for run, frame in values.items()]
    value_table = with_columns(value_rows, VALUE_COLUMNS)
    ceilings = value_table.select(*RUN, "noise_ceiling", n_validation="kept_validation")
    level = settings.confidence
    curves = pruning_table(group_by_run(arguments.value_pruning, "shard"), "auc", right_counts(rollouts, splits), level)
    surprise = pruning_table(group_by_run(arguments.dopamine_pruning, "shard"), "spearman", ceilings, level)
    return {
        "rollouts": with_columns(rollout_rows, ROLLOUT_COLUMNS),
        "values": value_table,
        "pruning_value": with_columns(curves, PRUNING_VALUE_COLUMNS),
        "pruning_dopamine": with_columns(surprise, PRUNING_DOPAMINE_COLUMNS),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Read the results of all runs and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--params",
        required=True,
        help="canonical JSON: pruning (bootstrap, confidence, seed), values (what was drawn, gamma, min_abs_delta)",
    )
    for name in ("problems", "rollouts", "values", "value-pruning", "dopamine-pruning"):
        parser.add_argument(f"--{name}", nargs="*", type=Path, default=[])
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    pruning, values = params.pruning, params.values
    resampling = pruning.confidence, pruning.bootstrap, pruning.seed
    settings = Settings(*resampling, values.gamma, values.min_abs_delta, design_of(values))
    for name, frame in tabulate(arguments, settings).items():
        write_table(frame, name, arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
