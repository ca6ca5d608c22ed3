"""Masked responses beside their unmasked twins, read from the shards of a run and refused where anything is amiss.

An intervention that did not happen looks like one without effect. So every condition of every shard needs a proof that
holds, and every masked response a twin that differs in the intervention alone.
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
"""What identifies a condition of a run."""
RESPONSE = ["problem_id", "sample"]
ENDING = ".proofs.parquet"
SCORES = ["reward", "truncated", "tokens"]


@dataclass(frozen=True)
class Masked:
    """All responses of one run that have a masked twin, in an order that shards do not decide."""

    responses: pl.DataFrame
    """One row per condition and response: CONDITION, n_neurons, RESPONSE, SCORES, `unmasked` (the twin's reward)."""
    unmasked: pl.DataFrame
    """The unmasked responses to the same problems: RESPONSE, SCORES."""
    proofs: pl.DataFrame
    """One row per condition: CONDITION, largest_miss (0). How many positions were processed depends on the batches."""


def words(row: dict[str, Any]) -> str:
    """The condition of a row, for a message."""
    return condition_words(**{name: row[name] for name in CONDITION})


def read_files(paths: Sequence[Path]) -> pl.DataFrame:
    """The rows of all files, with the name of each row's file in `file`."""
    return pl.concat([read_parquet(path).with_columns(file=pl.lit(str(path))) for path in paths])


def read_responses(paths: Sequence[Path], keys: Sequence[str]) -> pl.DataFrame:
    """Graded responses; `keys` identify one.

    Raises:
        UserError: two shards hold the same response.
    """
    tokens = pl.col("response_ids").list.len().cast(pl.Int64).alias("tokens")
    frame = read_files(paths).with_columns(tokens).sort(*keys, "file")
    twice = frame.filter(pl.struct(keys).is_duplicated())
    if len(twice):
        first, second = twice[0].to_dicts()[0], twice[1].to_dicts()[0]
        raise UserError(
            f"{second['file']}: problem {first['problem_id']}, sample {first['sample']} stands in {first['file']} as "
            "well; delete both and run again"
        )
    return frame


def read_proofs(paths: Sequence[Path]) -> pl.DataFrame:
    """One row per condition and shard; `file` is the file of responses that the proof belongs to.

    Raises:
        UserError: a proof does not hold.
    """
    frame = read_files(paths)
    failed = [row for row in frame.sort("file", *CONDITION).to_dicts() if not proof_of(row).complete]
    if failed:
        row = failed[0]
        raise UserError(
            f"{row['file']}: {words(row)}: {row['changed']} of {row['processed']} positions were held, largest miss "
            f"{row['largest_miss']}; delete the file and run again"
        )
    return frame.with_columns(pl.col("file").str.strip_suffix(ENDING) + ".parquet")


def proof_of(row: dict[str, Any]) -> MaskCheck:
    """The proof in one row; what is missing there proves nothing."""
    miss = math.nan if row["largest_miss"] is None else row["largest_miss"]
    return MaskCheck(row["processed"] or 0, row["changed"] or 0, miss)


def check_proven(masked: pl.DataFrame, proofs: pl.DataFrame) -> None:
    """Every condition of every shard has a proof.

    Raises:
        UserError: one does not.
    """
    keys = ["file", *CONDITION]
    bare = masked.join(proofs, on=keys, how="anti").sort(keys)
    if len(bare):
        row = bare.to_dicts()[0]
        raise UserError(f"{row['file']}: {words(row)}: no proof that its neurons were held; delete it and run again")


def check_same_problems(masked: pl.DataFrame) -> None:
    """Every condition of a run has the same responses; none stands twice.

    Raises:
        UserError: a condition lacks some.
    """
    wanted = masked.select(RESPONSE).n_unique()
    counted = masked.group_by(CONDITION).agg(pl.len(), pl.col("file").min()).sort(CONDITION)
    short = counted.filter(pl.col("len") < wanted)
    if len(short):
        row = short.to_dicts()[0]
        folder = Path(row["file"]).parent
        raise UserError(
            f"{folder}: {words(row)}: {row['len']} of the run's {wanted} problems and samples; delete the folder "
            "and run again"
        )


def read_run(masked: Sequence[Path], proofs: Sequence[Path], rollouts: Sequence[Path]) -> Masked:
    """Everything about one run.

    Raises:
        UserError: a proof is missing or does not hold, a masked response has no unmasked twin, shards overlap, or
            conditions answer different problems.
    """
    held, proven = read_responses(masked, [*CONDITION, *RESPONSE]), read_proofs(proofs) if proofs else None
    check_proven(held, held.clear() if proven is None else proven)
    assert proven is not None
    check_same_problems(held)
    plain = read_responses(rollouts, RESPONSE) if rollouts else held.clear()
    alone = held.join(plain, on=RESPONSE, how="anti").sort("file", *CONDITION, *RESPONSE)
    if len(alone):
        row = alone.to_dicts()[0]
        raise UserError(
            f"{row['file']}: problem {row['problem_id']}, sample {row['sample']} has no unmasked response; give "
            "--rollouts the files of the same run"
        )
    twins = plain.select(*RESPONSE, unmasked="reward")
    wanted = [*CONDITION, "n_neurons", *RESPONSE, *SCORES]
    responses = held.select(wanted).join(twins, on=RESPONSE, how="left", maintain_order="left")
    unmasked = plain.select(*RESPONSE, *SCORES).join(held.select(RESPONSE).unique(), on=RESPONSE, how="semi")
    summed = proven.group_by(CONDITION).agg(pl.col("largest_miss").max())
    return Masked(responses, unmasked.sort(RESPONSE), summed.sort(CONDITION))
