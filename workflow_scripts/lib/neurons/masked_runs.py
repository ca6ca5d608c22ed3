"""Read masked responses with their unmasked twins from the shards of a run; refuse incomplete or inconsistent ones.

An intervention that did not happen looks like one without effect. So every condition of every shard needs a complete
mask check, and every masked response a twin that differs only in the intervention.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.proof import MaskCheck
from workflow_scripts.lib.neurons.conditions import condition_words
from workflow_scripts.lib.storage.tables import read_parquet

CONDITION = ["layer", "selection", "draw", "share", "mode", "factor"]
"""The columns that identify a condition of a run."""
RESPONSE = ["problem_id", "sample"]
ENDING = ".proofs.parquet"
SCORES = ["reward", "truncated", "tokens"]
TWIN = {"unmasked": "reward", "unmasked_truncated": "truncated", "unmasked_tokens": "tokens"}
"""The columns of a response's unmasked twin."""


@dataclass(frozen=True)
class Masked:
    """All responses of one run that have a masked twin, in an order that does not depend on shards."""

    responses: pl.DataFrame
    """One row per condition and response: CONDITION, n_neurons, RESPONSE, SCORES, TWIN."""
    mask_checks: pl.DataFrame
    """One row per condition: CONDITION, largest_miss (0). How many positions were processed depends on the batches."""


def words(row: dict[str, Any]) -> str:
    """Name the condition of a row in a message."""
    return condition_words(**{name: row[name] for name in CONDITION})


def read_files(paths: Sequence[Path]) -> pl.DataFrame:
    """Read the rows of all files, with the name of each row's file in `file`."""
    return pl.concat([read_parquet(path).with_columns(file=pl.lit(str(path))) for path in paths])


def read_responses(paths: Sequence[Path], keys: Sequence[str]) -> pl.DataFrame:
    """Read graded responses; `keys` identify one.

    Raises:
        UserError: two shards contain the same response.
    """
    tokens = pl.col("response_ids").list.len().cast(pl.Int64).alias("tokens")
    frame = read_files(paths).with_columns(tokens).sort(*keys, "file")
    twice = frame.filter(pl.struct(keys).is_duplicated())
    if len(twice):
        first, second = twice[0].to_dicts()[0], twice[1].to_dicts()[0]
        raise UserError(
            f"{second['file']}: problem {first['problem_id']}, sample {first['sample']} is in {first['file']} as "
            "well; delete both and run again"
        )
    return frame


def read_mask_checks(paths: Sequence[Path]) -> pl.DataFrame:
    """Read the mask checks: one row per condition and shard; `file` is the file of responses that a check belongs to.

    Raises:
        UserError: a mask check is not complete.
    """
    frame = read_files(paths)
    failed = [row for row in frame.sort("file", *CONDITION).to_dicts() if not mask_check_of(row).complete]
    if failed:
        row = failed[0]
        raise UserError(
            f"{row['file']}: {words(row)}: {row['changed']} of {row['processed']} positions were masked, largest error "
            f"{row['largest_miss']}; delete the file and run again"
        )
    return frame.with_columns(pl.col("file").str.strip_suffix(ENDING) + ".parquet")


def mask_check_of(row: dict[str, Any]) -> MaskCheck:
    """Return the mask check in one row; a missing number makes it incomplete."""
    miss = math.nan if row["largest_miss"] is None else row["largest_miss"]
    return MaskCheck(row["processed"] or 0, row["changed"] or 0, miss)


def require_mask_checks(masked: pl.DataFrame, checks: pl.DataFrame) -> None:
    """Raise unless every condition of every shard has a mask check.

    Raises:
        UserError: one has none.
    """
    keys = ["file", *CONDITION]
    unchecked = masked.join(checks, on=keys, how="anti").sort(keys)
    if len(unchecked):
        row = unchecked.to_dicts()[0]
        raise UserError(f"{row['file']}: {words(row)}: no mask check; delete it and run again")


def check_same_problems(masked: pl.DataFrame) -> None:
    """Raise unless every condition of a run has the same responses, each once.

    Raises:
        UserError: a condition lacks some.
    """
    expected = masked.select(RESPONSE).n_unique()
    counted = masked.group_by(CONDITION).agg(pl.len(), pl.col("file").min()).sort(CONDITION)
    short = counted.filter(pl.col("len") < expected)
    if len(short):
        row = short.to_dicts()[0]
        folder = Path(row["file"]).parent
        raise UserError(
            f"{folder}: {words(row)}: {row['len']} of the run's {expected} problems and samples; delete the folder "
            "and run again"
        )


def read_run(masked: Sequence[Path], mask_checks: Sequence[Path], rollouts: Sequence[Path]) -> Masked:
    """Read and check all files of one run.

    Raises:
        UserError: a mask check is missing or not complete, a masked response has no unmasked twin, shards overlap, or
            conditions answer different problems.
    """
    table, checks = (
        read_responses(masked, [*CONDITION, *RESPONSE]),
        read_mask_checks(mask_checks) if mask_checks else None,
    )
    require_mask_checks(table, table.clear() if checks is None else checks)
    assert checks is not None
    check_same_problems(table)
    plain = read_responses(rollouts, RESPONSE) if rollouts else table.clear()
    alone = table.join(plain, on=RESPONSE, how="anti").sort("file", *CONDITION, *RESPONSE)
    if len(alone):
        row = alone.to_dicts()[0]
        raise UserError(
            f"{row['file']}: problem {row['problem_id']}, sample {row['sample']} has no unmasked response; give "
            "--rollouts the files of the same run"
        )
    twins = plain.select(*RESPONSE, **{name: pl.col(own) for name, own in TWIN.items()})
    columns = [*CONDITION, "n_neurons", *RESPONSE, *SCORES]
    responses = table.select(columns).join(twins, on=RESPONSE, how="left", maintain_order="left")
    summed = checks.group_by(CONDITION).agg(pl.col("largest_miss").max())
    return Masked(responses, summed.sort(CONDITION))
