"""Rule `quote_cases`: find question and response of the typical and the worst case behind each claim (csv, parquet).

The judge names cases by problem; only their rows are read from the responses, which are the largest files of a study.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.storage.identity import Run, group_by_run
from workflow_scripts.lib.storage.result_tables import with_columns, write_table
from workflow_scripts.lib.storage.tables import read_checked, read_parquet

COLUMNS = [
    *("key", "case", "comparison", "model", "dataset", "layer", "problem_id", "sample", "paragraph", "seed"),
    *("contribution", "average", "origin", "reward", "truncated", "question", "gold", "text"),
]
KINDS = {"rollouts": "shard", "masked": "layer", "search": "shard"}
"""How the path of a file of responses names its run."""


def response_of(case: Mapping[str, Any], files: Mapping[str, Mapping[Run, list[Path]]], how: pl.Expr) -> dict[str, Any]:
    """Return reward and text of a case's response; nothing where it is in no file.

    Masked responses are stored as tokens alone: their reward stands beside the text of the unmasked twin.

    Args:
        case: a row of `claim_cases`.
        files: by origin and run.
        how: the condition of Tables 2 and 5, for masked responses.
    """
    run, problem = (case["model"], case["dataset"]), pl.col("problem_id") == case["problem_id"]
    if case["origin"] == "search":
        paths = [path for path in files["search"].get(run, []) if path.stem == str(case["seed"])]
        return found(paths, problem & (pl.col("method") == "dopamine"), "reward", "text")
    same = problem & (pl.col("sample") == case["sample"])
    unmasked = found(files["rollouts"].get(run, []), same, "reward", "truncated", "text")
    if case["origin"] == "rollouts":
        return unmasked
    paths = [path for path in files["masked"].get(run, []) if path.parent.name == str(case["layer"])]
    return unmasked | found(paths, same & how, "reward", "truncated")


def found(paths: Sequence[Path], wanted: pl.Expr, *columns: str) -> dict[str, Any]:
    """Return some columns of the first row that is wanted; nothing if there is none."""
    for path in paths:
        rows = read_checked(path, lambda file: pl.scan_parquet(file).filter(wanted).select(columns).collect())
        if len(rows):
            return dict(rows.row(0, named=True))
    return {}


def problems_of(paths: Sequence[Path]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return question and answer of every problem, by data set and name."""
    return {
        (path.parent.name, row["problem_id"]): row
        for path in paths
        for row in read_parquet(path).select("problem_id", "question", "gold").to_dicts()
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Read the cases and write them with their words."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON: interventions (share, mode)")
    parser.add_argument("--cases", required=True, type=Path, help="tables/claim_cases.parquet")
    for name in ("problems", *KINDS):
        parser.add_argument(f"--{name}", nargs="*", type=Path, default=[])
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    study = load(arguments.params).interventions
    share = pl.col("share") == float(study.share)
    how = (pl.col("selection") == "value") & (pl.col("mode") == study.mode) & (pl.col("draw") == 0) & share
    files = {name: group_by_run(getattr(arguments, name), kind) for name, kind in KINDS.items()}
    problems = problems_of(arguments.problems)
    rows = [
        case | response_of(case, files, how) | problems.get((case["dataset"], case["problem_id"]), {})
        for case in read_parquet(arguments.cases).to_dicts()
    ]
    write_table(with_columns(rows, COLUMNS), "cases", arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
