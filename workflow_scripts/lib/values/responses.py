"""Choose the responses that get values."""

import polars as pl

from workflow_scripts.lib.config.sections import Values
from workflow_scripts.lib.errors import UserError


def valued_rollouts(problems: pl.DataFrame, rollouts: pl.DataFrame, values: Values, shard: int) -> pl.DataFrame:
    """Return the rollouts whose problems belong to the shard, by position of the problem and sample.

    Raises:
        UserError: a problem of the shard has no rollout.
    """
    start = shard * values.shard_size
    stop = min(start + values.shard_size, values.n_problems)
    in_shard = problems.filter(pl.col("position").is_between(start, stop, closed="left"))
    if missing := sorted(set(in_shard["problem_id"]) - set(rollouts["problem_id"])):
        raise UserError(
            f"rollouts: problem {missing[0]} and {len(missing) - 1} more of shard {shard} have no response; "
            "delete the rollouts of this model and data set and run again"
        )
    chosen = rollouts.join(in_shard.select("problem_id", "position"), on="problem_id", how="inner")
    return chosen.sort("position", "sample").drop("position")
