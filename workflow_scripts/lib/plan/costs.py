"""The costs of a run and the costs planned without any measurement: one row for each rule."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl

from workflow_scripts.lib.plan.jobs import Job
from workflow_scripts.lib.plan.lengths import tokens
from workflow_scripts.lib.plan.recorded import read_all
from workflow_scripts.lib.plan.table import by, plan

RESULTS = Path("results")
SPENT: dict[str, Any] = {
    "rule": pl.String,
    "recorded": pl.Int64,
    **dict.fromkeys(("generated", "read"), pl.Int64),
    **dict.fromkeys(("seconds", "median_seconds", "max_seconds", "cpu_seconds", "gpu_hours", "memory_mb"), pl.Float64),
    "disk": pl.Int64,
}


def on_a_cluster() -> bool:
    """Say whether this process is a cluster's job, whose machine need not have the GPUs that other jobs used."""
    return "SLURM_JOB_ID" in os.environ


def costs(config: dict[str, Any], jobs: Sequence[Job], device_key: str, holds_gpus: bool) -> pl.DataFrame:
    """Return planned and actual figures of every rule with a job. `holds_gpus`: jobs got the GPUs that they ask for.

    Planned are the ranges of `plan.table` with nothing measured. Actual are the jobs with a record, the tokens in their
    files (null where files do not say), seconds, GPU hours, the largest resident memory and bytes.
    """
    planned = by(plan(config, jobs, [], device_key, None), "stage", "rule").drop("to_do")
    hours = [(pl.col(f"gpu_hours_{end}") + pl.col(f"cpu_hours_{end}")).alias(f"hours_{end}") for end in ("low", "high")]
    planned = planned.with_columns(hours).rename(lambda name: name if name in ("stage", "rule") else f"planned_{name}")
    rows = [spent(rule, [job for job in jobs if job.rule == rule], holds_gpus) for rule in planned["rule"]]
    return planned.join(pl.DataFrame(rows, schema=SPENT, orient="row"), on="rule", how="left", maintain_order="left")


def spent(rule: str, jobs: Sequence[Job], holds_gpus: bool) -> tuple[Any, ...]:
    """Return the actual figures of one rule."""
    records = {job: one for job in jobs if (one := read_all([job.benchmark]).get(job.benchmark))}
    seconds = [one.seconds for one in records.values()]
    memory = [one.memory for one in records.values() if one.memory is not None]
    outputs = [Path(name) for job in jobs for name in job.outputs if Path(name).is_file()]
    count = COUNTED.get(rule)
    generated, read = count(outputs) if count and outputs else (None, None)
    return (
        rule,
        len(records),
        generated,
        read,
        sum(seconds),
        median(seconds) if seconds else None,
        max(seconds, default=None),
        sum(one.cpu_seconds for one in records.values()),
        sum(one.seconds * job.gpu for job, one in records.items()) / 3600 if holds_gpus else 0.0,
        max(memory, default=None),
        sum(path.stat().st_size for path in outputs),
    )


Counted = tuple[int | None, int | None]
"""Tokens generated and tokens read; None where the files do not say."""


def total(paths: Iterable[Path], expression: pl.Expr) -> int:
    """Sum an expression over tables."""
    return sum(int(pl.scan_parquet(path).select(expression.sum()).collect().item() or 0) for path in paths)


def counterpart(path: Path, kind: str) -> Path:
    """Return the shard of another kind with the same run and number."""
    return RESULTS / kind / path.relative_to(RESULTS / path.relative_to(RESULTS).parts[0]).with_suffix(".parquet")


WHOLE = tokens("prompt_ids") + tokens("response_ids")


def sampled(outputs: Sequence[Path]) -> Counted:
    """Count tokens of responses; each problem's prompt is read once."""
    prompts = tokens("prompt_ids").filter(pl.col("problem_id").is_first_distinct())
    return total(outputs, tokens("response_ids")), total(outputs, prompts)


def continued(outputs: Sequence[Path]) -> Counted:
    """Count tokens of continuations; the prefix of each boundary is read once."""
    prompts: dict[Path, pl.LazyFrame] = {}
    read = 0
    for path in outputs:
        run = RESULTS / "rollouts" / path.parts[-3] / path.parts[-2]
        if run not in prompts:
            each = pl.scan_parquet(run / "*.parquet").select("problem_id", tokens("prompt_ids").alias("prompt"))
            prompts[run] = each.unique("problem_id").collect().lazy()
        starts = pl.scan_parquet(counterpart(path, "paragraphs")).join(prompts[run], on="problem_id", how="left")
        read += int(starts.select((pl.col("start") + pl.col("prompt")).sum()).collect().item() or 0)
    return total(outputs, tokens("response_ids")), read


def dumped(outputs: Sequence[Path]) -> Counted:
    """Count tokens of prompts and responses, which are read once."""
    return None, total([counterpart(path, "rollouts") for path in outputs], WHOLE)


def masked(outputs: Sequence[Path]) -> Counted:
    """Count tokens of responses under every condition; all other positions that passed the mask were read."""
    mask_checks = [path for path in outputs if path.name.endswith(".proofs.parquet")]
    generated = total([path for path in outputs if path not in mask_checks], tokens("response_ids"))
    return generated, total(mask_checks, pl.col("processed")) - generated


def searched(outputs: Sequence[Path]) -> Counted:
    """Count tokens of the candidates of every method; `best_of_n` and `majority` pick among the same."""
    generated = 0
    for path in outputs:
        if not path.name.endswith(".candidates.parquet"):
            table = pl.read_parquet(path, columns=["method", "tokens"]).group_by("method").sum()
            by_method = dict(table.iter_rows())
            whole = [by_method.pop(name, 0) for name in ("best_of_n", "majority")]
            generated += sum(by_method.values()) + max(whole)
    return generated, None


COUNTED: dict[str, Callable[[Sequence[Path]], Counted]] = {
    "sample_rollouts": sampled,
    "continue_paragraphs": continued,
    "dump_activations": dumped,
    "mask_neurons": masked,
    "guide_search": searched,
}
