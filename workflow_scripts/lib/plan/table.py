"""The plan of a study: the costs of each rule, as ranges, from the workflow's jobs, expected lengths and rates."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.config.plain import read_yaml
from workflow_scripts.lib.config.study import pair
from workflow_scripts.lib.plan.jobs import Job, stages
from workflow_scripts.lib.plan.lengths import expected, shares
from workflow_scripts.lib.plan.quantities import Lengths, Size, Work
from workflow_scripts.lib.plan.rates import Device, Setting, device, seconds, sizes
from workflow_scripts.lib.plan.work import works
from workflow_scripts.lib.search.methods import needs_of

ASSUMPTIONS = Path("resources/plan/assumptions.yaml")
ENDS = ("low", "high")
QUANTITIES = ("generated", "read", "gpu_hours", "cpu_hours", "disk")
"""The planned quantities: tokens generated and read, hours of the device and of processors, bytes written."""
SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("stage", "rule", "model", "dataset"), pl.String),
    **dict.fromkeys(("jobs", "to_do"), pl.Int64),
    **{f"{name}_{end}": pl.Float64 for name in QUANTITIES for end in ENDS},
}
SPREAD = (0.8, 1.25)
"""Factors on a measured rate at either end, because it was measured once, on one set of responses."""
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Basis:
    """The inputs of a plan at one end of its ranges."""

    lengths: dict[str, Lengths]
    works: dict[Key, Work]
    sizes: dict[str, Size]
    device: Device
    cpu: Device


def basis(config: dict[str, Any], device_key: str, results: Path | None, end: int) -> Basis:
    """Return lengths, work and rates at one end: 0 for few tokens on a fast device, 1 for many on a slow one."""
    assumptions = read_yaml(ASSUMPTIONS)
    lengths = expected(config, assumptions, results, end)
    known = sizes({name: config["models"][name] for name in used_models(config)})
    work = works(config, lengths, known, shares(assumptions, end))
    return Basis(lengths, work, known, device(assumptions, device_key, end), device(assumptions, "cpu", end))


def used_models(config: dict[str, Any]) -> list[str]:
    """List the models that runs name, and the reference that a search scores against."""
    search = config["search"]
    scored = search["runs"] and "reference" in needs_of(search["methods"])
    references = {search["reference"]} - {None} if scored else set()
    return sorted({pair(run)[0] for run in config["rollouts"]["runs"]} | references)


def setting(config: dict[str, Any], model: str, dataset: str, lengths: Lengths | None) -> Setting:
    """Return how the jobs of a run generate and grade."""
    return Setting(
        config["rollouts"]["engine"],
        config["rollouts"]["batch_size"],
        config["models"][model]["dtype"] if model else "float32",
        config["vllm"]["gpu_memory_utilization"],
        config["datasets"][dataset]["answer"] if dataset else "boxed_integer",
        lengths.prompt + lengths.response if lengths else 1,
    )


def key_of(job: Job) -> Key:
    """Return the key of jobs that are planned together: those of a rule for one run."""
    return job.rule, *job.run


def plan(
    config: dict[str, Any],
    every: Sequence[Job],
    to_do: Sequence[Job],
    device_key: str,
    results: Path | None,
) -> pl.DataFrame:
    """Plan each rule and run, in the workflow's order: jobs, how many are still to do, and the ranges of `QUANTITIES`.

    The quantities are those of all jobs; a rule's jobs of one run are alike, so that a share of them takes that share.
    `results` None plans as if nothing had been measured.
    """
    ends = [basis(config, device_key, results, end) for end in (0, 1)]
    counted, left = Counter(map(key_of, every)), Counter(map(key_of, to_do))
    gpus: dict[Key, int] = defaultdict(int)
    for job in every:
        gpus[key_of(job)] = max(gpus[key_of(job)], job.gpu)
    stage = stages()
    rows = []
    for key, jobs in counted.items():
        ranges = [planned(config, key, jobs, gpus[key], at, end) for end, at in enumerate(ends)]
        both = [value for name in QUANTITIES for value in (ranges[0][name], ranges[1][name])]
        rows.append((stage[key[0]], *key, jobs, left[key], *both))
    order: dict[Any, int] = {name: number for number, name in enumerate(stage)}
    rows.sort(key=lambda row: (order[row[1]], *row[2:4]))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def planned(config: dict[str, Any], key: Key, jobs: int, gpus: int, at: Basis, end: int) -> dict[str, float]:
    """Return the quantities of a rule's jobs of one run at one end of the ranges."""
    rule, model, dataset = key
    work = at.works.get(key, Work(rule, model, dataset))
    runs_on = at.device if gpus else at.cpu
    how = setting(config, model, dataset, at.lengths.get(f"{model}/{dataset}"))
    size = at.sizes.get(model, Size(0, 0, 0, 0, 0))
    hours = seconds(work, jobs, size, runs_on, how, slow=bool(end)) / 3600
    on_gpu = bool(gpus) and at.device.key != "cpu"
    return {
        "generated": work.generated,
        "read": work.read,
        "gpu_hours": hours * gpus if on_gpu else 0.0,
        "cpu_hours": 0.0 if on_gpu else hours,
        "disk": work.disk,
    }


def at_measured_rates(rows: pl.DataFrame, every: Sequence[Job], seconds_of: dict[str, float]) -> pl.DataFrame:
    """Scale the hours of every rule by what its finished jobs took; `seconds_of` is by benchmark file.

    The range around the measured hours is `SPREAD`, because other data and days differ. A rule without a finished job
    is not scaled.
    """
    spent: dict[Key, float] = defaultdict(float)
    finished: Counter[Key] = Counter()
    for job in every:
        if job.benchmark in seconds_of:
            spent[key_of(job)] += seconds_of[job.benchmark]
            finished[key_of(job)] += 1
    names = ("rule", "model", "dataset")
    schema = {**dict.fromkeys(names, pl.String), "took": pl.Float64, "finished": pl.Int64}
    took = pl.DataFrame([(*key, spent[key] / 3600, finished[key]) for key in finished], schema=schema, orient="row")
    joined = rows.join(took, on=names, how="left", maintain_order="left")
    part = pl.col("finished") / pl.col("jobs")
    for end, around in zip(ENDS, SPREAD, strict=True):
        planned = ((pl.col(f"gpu_hours_{end}") + pl.col(f"cpu_hours_{end}")) * part).sum().over("rule")
        factor = pl.when(planned > 0).then(around * pl.col("took").sum().over("rule") / planned).otherwise(1.0)
        joined = joined.with_columns(pl.col(f"{name}_{end}") * factor for name in ("gpu_hours", "cpu_hours"))
    return joined.drop("took", "finished")


def to_do_part(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the plan of the jobs still to do: each row's quantities times their share of its jobs."""
    part = pl.col("to_do") / pl.col("jobs")
    scaled = [(pl.col(f"{name}_{end}") * part).alias(f"{name}_{end}") for name in QUANTITIES for end in ENDS]
    return rows.with_columns(pl.col("to_do").alias("jobs"), *scaled)


def by(rows: pl.DataFrame, *keys: str) -> pl.DataFrame:
    """Sum the plan over everything except `keys`, in the order of first occurrence."""
    summed = ["jobs", "to_do", *(f"{name}_{end}" for name in QUANTITIES for end in ENDS)]
    return rows.group_by(keys, maintain_order=True).agg(pl.col(summed).sum())
