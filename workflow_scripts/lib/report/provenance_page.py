"""Tables of the provenance page: actual and planned costs, versions, inputs, seeds, hashes.

The report has the same bytes whenever the results are the same; durations are not, so they have a page of their own.
It prints neither the environment nor a password or key in an address of the configuration.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from workflow_scripts.lib.formatting import grouped, short, spread, tenths
from workflow_scripts.lib.plan.table import used_models
from workflow_scripts.lib.report.run_facts import commit, dataset_facts, hashes, model_facts, seeds, without_secrets
from workflow_scripts.lib.report.tables import Column, Row, TableView, code, exact, pairs, view, whole
from workflow_scripts.lib.runtime.machine import LIBRARIES, Machine, machine, versions

PLANNED = ("generated", "read", "disk")
"""Counts that the plan estimates too."""


@dataclass(frozen=True)
class Inputs:
    """Files that the page describes: hashes of `hashed`, fingerprints from `probes`, contents of `problems`."""

    problems: Sequence[Path]
    probes: Sequence[Path]
    hashed: Sequence[Path]


def provenance_values(
    inputs: Inputs, config: dict[str, Any], costs: pl.DataFrame, device: str, folder: Path
) -> dict[str, Any]:
    """Build what the template reads; `device` is the one that was planned on, `folder` that of the project."""
    public = without_secrets(config)
    models = {name: public["models"][name] for name in used_models(config)}
    libraries = [*LIBRARIES, *(["vllm"] if config["rollouts"]["engine"] == "vllm" else [])]
    return {
        "study": config["study"],
        "totals": totals(costs),
        "device": device,
        "costs": cost_tables(costs),
        "commit": commit(folder),
        "versions": version_table(versions(libraries), machine()),
        "models": model_table(model_facts(models, inputs.probes)),
        "datasets": dataset_table(dataset_facts(public["datasets"], inputs.problems)),
        "seeds": pairs("", ("Setting", "Seed"), seeds(config)),
        "hashes": hash_table(hashes(inputs.hashed)),
        "config": yaml.safe_dump(public, sort_keys=False, allow_unicode=True, width=100),
    }


def totals(costs: pl.DataFrame) -> list[tuple[str, str]]:
    """Sum over all jobs."""
    total = costs.select("recorded", "seconds", "gpu_hours", "disk").sum().row(0, named=True)
    return [
        ("jobs with a record", grouped(total["recorded"])),
        ("of all jobs together", duration(total["seconds"])),
        ("GPU hours", tenths(total["gpu_hours"])),
        ("on disk", f"{short(total['disk'])}B"),
    ]


def duration(seconds: float | None) -> str:
    """Write seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def cost_tables(costs: pl.DataFrame) -> list[TableView]:
    """Tabulate times and memory by rule; tokens and bytes of the rules that have them."""
    rows = costs.to_dicts()
    counted = [row for row in rows if any(planned(row, name) != "-" for name in PLANNED)]
    rule = [exact("Stage", "stage"), exact("Rule", "rule")]
    times = [*rule, Column("Jobs", lambda row: f"{row['recorded']} of {row['planned_jobs']}")]
    times += [time("Time", "seconds"), Column("Planned time", planned_time), time("Median job", "median_seconds")]
    times += [time("Longest job", "max_seconds"), Column("GPU hours", lambda row: tenths(row["gpu_hours"]))]
    times += [Column("Memory", memory)]
    counts = [*rule, both("Tokens generated", "generated"), both("Tokens read", "read"), both("Bytes", "disk")]
    return [
        view("By rule. Times are wall-clock times; memory is the peak of any job.", times, rows),
        view(
            "Tokens and bytes on disk, planned numbers in brackets; rules without such counts are omitted.",
            counts,
            counted,
        ),
    ]


def time(title: str, name: str) -> Column:
    """Build a column of durations."""
    return Column(title, lambda row: duration(row[name]))


def planned(row: Row, name: str) -> str:
    """Write the planned range of a count; `-` where the plan has none."""
    return spread(row[f"planned_{name}_low"], row[f"planned_{name}_high"], short)


def planned_time(row: Row) -> str:
    """Write the planned range of hours."""
    low, high = (duration(3600 * row[f"planned_hours_{end}"]) for end in ("low", "high"))
    return f"{low} to {high}"


def both(title: str, name: str) -> Column:
    """Build a column of counts, the planned ones in brackets, each where there is one."""

    def write(row: Row) -> str:
        actual = "–" if row[name] is None else short(row[name])
        estimate = planned(row, name)
        return actual if estimate == "-" else f"{actual} ({estimate})"

    return Column(title, write)


def memory(row: Row) -> str:
    """Write the peak memory of a rule's jobs."""
    return "–" if row["memory_mb"] is None else f"{grouped(row['memory_mb'])} MiB"


def version_table(installed: list[tuple[str, str]], computer: Machine) -> TableView:
    """Tabulate versions of libraries, and the machine that the page was written on."""
    hardware = [
        ("Processor", f"{computer.processor}, {computer.cores} cores"),
        ("Memory", f"{round(computer.memory / 1e9)} GB"),
        ("GPUs", ", ".join(computer.gpus) or "none"),
    ]
    return pairs("", ("Component", "Version"), [*installed, *hardware])


def model_table(facts: list[dict[str, str]]) -> TableView:
    """Tabulate the used models."""
    caption = (
        "Models. The fingerprint is what the results depend on: a SHA-256 over a folder’s files, or name and revision "
        "on the hub."
    )
    columns = [exact("Name", "name"), code("Path", "path"), exact("Revision", "revision")]
    return view(caption, [*columns, exact("Number format", "dtype"), code("Fingerprint", "fingerprint")], facts)


def dataset_table(facts: list[dict[str, Any]]) -> TableView:
    """Tabulate the used data sets."""
    columns = [exact("Name", "name"), exact("Source", "source"), code("Path, address or task", "place")]
    columns += [exact("Revision", "revision"), whole("Problems used", "n_problems"), code("SHA-256", "content")]
    return view("Data sets. The hash is that of the problems used.", columns, facts)


def hash_table(files: list[tuple[str, int, str]]) -> TableView:
    """Tabulate bytes and hash of every file."""
    rows = [{"path": path, "size": size, "digest": digest} for path, size, digest in files]
    return view("", [code("File", "path"), whole("Bytes", "size"), code("SHA-256", "digest")], rows)
