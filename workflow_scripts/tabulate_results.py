"""Rule `tabulate_results`: write the four tables behind the figures and the report, as csv and parquet.

A number that cannot be computed stays empty, and the column `reason` says why.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.probes.curves import (
    PRUNING_DOPAMINE_COLUMNS,
    PRUNING_VALUE_COLUMNS,
    RUN,
    correct_counts,
    pruning_table,
)
from workflow_scripts.lib.storage.identity import group_by_run
from workflow_scripts.lib.storage.result_tables import with_columns, write_table
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.values.adaptive import design_of
from workflow_scripts.lib.values.tables import (
    ROLLOUT_COLUMNS,
    VALUE_COLUMNS,
    Settings,
    rollout_row,
    split_of,
    value_row,
)


def tabulate(arguments: argparse.Namespace, settings: Settings) -> dict[str, pl.DataFrame]:
    """Build all four tables."""
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
    curves = pruning_table(
        group_by_run(arguments.value_pruning, "shard"), "auc", correct_counts(rollouts, splits), level
    )
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
