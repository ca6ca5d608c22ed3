"""Rule `write_provenance`: what the results come from and what they took, as a page and as a table of costs.

The report has the same bytes whenever the results are the same; durations are not, so they stand on this page of their
own. It loads nothing, and prints neither the environment nor a password or key in an address of the configuration.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.config.study import read_yaml
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.formatting import grouped, short, spread, tenths
from workflow_scripts.lib.plan.costs import costs, on_a_cluster
from workflow_scripts.lib.plan.jobs import dry_run
from workflow_scripts.lib.plan.table import ASSUMPTIONS, used_models
from workflow_scripts.lib.report.parts import render
from workflow_scripts.lib.report.run_facts import commit, dataset_facts, hashes, model_facts, seeds, without_secrets
from workflow_scripts.lib.runtime.machine import LIBRARIES, device_key, machine, versions
from workflow_scripts.lib.storage.files import atomic_path
from workflow_scripts.lib.storage.tables import write_parquet

OWN = ("write_provenance",)
"""Rules that the costs leave out: this one is at work while it counts."""
CLUSTER = "h100"
"""What a cluster's GPUs are planned as, where this job cannot see them."""


def with_sizes(config: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    """The configuration with the sizes of models, which reach this job as a resource."""
    models = {name: {**entry, "size": sizes.get(name)} for name, entry in config["models"].items()}
    return {**config, "models": models}


def planned_and_spent(config: dict[str, Any], gpus: tuple[str, ...]) -> tuple[pl.DataFrame, str]:
    """The costs of all jobs of the configuration, and the name of the device that they were planned on."""
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "study.json"
        whole.write_text(json.dumps(config))
        jobs = [job for job in dry_run([whole], every=True) if job.rule not in OWN]
    devices = read_yaml(ASSUMPTIONS)["devices"]
    cluster = on_a_cluster()
    key = CLUSTER if cluster and not gpus else device_key(gpus, list(devices))
    return costs(config, jobs, key, holds_gpus=bool(gpus) or cluster), devices[key]["name"]


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them."""
    if seconds is None:
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def cost_rows(table: pl.DataFrame) -> list[dict[str, str]]:
    """The costs as the page prints them: actual figures, and beside them what was planned."""
    rows = []
    for row in table.to_dicts():
        planned = {
            name: spread(row[f"planned_{name}_low"], row[f"planned_{name}_high"], write)
            for name, write in (("generated", short), ("read", short), ("disk", short))
        }
        low, high = (duration(3600 * row[f"planned_hours_{end}"]) for end in ("low", "high"))
        rows.append(
            {
                "stage": row["stage"],
                "rule": row["rule"],
                "jobs": f"{row['recorded']} of {row['planned_jobs']}",
                "generated": beside(row["generated"], planned["generated"]),
                "read": beside(row["read"], planned["read"]),
                "seconds": duration(row["seconds"]),
                "planned_seconds": f"{low} to {high}",
                "median": duration(row["median_seconds"]),
                "longest": duration(row["max_seconds"]),
                "gpu_hours": tenths(row["gpu_hours"]),
                "memory": "–" if row["memory_mb"] is None else f"{grouped(row['memory_mb'])} MiB",
                "disk": beside(row["disk"], planned["disk"]),
                "counted": any(text != "-" for text in planned.values()),
            }
        )
    return rows


def beside(actual: float | None, planned: str) -> str:
    """An actual figure with the planned one in brackets, each where there is one."""
    told = "–" if actual is None else short(actual)
    return told if planned == "-" else f"{told} ({planned})"


def context(arguments: argparse.Namespace, config: dict[str, Any], table: pl.DataFrame, device: str) -> dict[str, Any]:
    """Everything that the template reads."""
    here = machine()
    models = {name: config["models"][name] for name in used_models(config)}
    public = without_secrets(config)
    total = table.select("recorded", "seconds", "gpu_hours", "disk").sum().row(0, named=True)
    return {
        "study": config["study"],
        "commit": commit(Path.cwd()),
        "versions": versions([*LIBRARIES, *(["vllm"] if config["rollouts"]["engine"] == "vllm" else [])]),
        "machine": here,
        "memory_gb": round(here.memory / 1e9),
        "device": device,
        "costs": cost_rows(table),
        "totals": {
            "jobs": total["recorded"],
            "seconds": duration(total["seconds"]),
            "gpu_hours": tenths(total["gpu_hours"]),
            "disk": short(total["disk"]),
        },
        "models": model_facts({name: public["models"][name] for name in models}, arguments.probes),
        "datasets": dataset_facts(public["datasets"], arguments.problems),
        "seeds": seeds(config),
        "hashes": hashes([*arguments.tables, *arguments.probes, arguments.report]),
        "config": yaml.safe_dump(public, sort_keys=False, allow_unicode=True, width=100),
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Count what was spent; write the table and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON of the whole configuration")
    parser.add_argument("--sizes", required=True, help="canonical JSON of the models' sizes")
    parser.add_argument("--report", required=True, type=Path)
    parser.add_argument("--tables", required=True, nargs="+", type=Path, help="tables whose hashes are printed")
    parser.add_argument("--probes", nargs="*", type=Path, default=[], help="probes whose hashes are printed")
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--template", required=True, type=Path)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--csv", required=True, type=Path)
    parser.add_argument("--parquet", required=True, type=Path)
    arguments = parser.parse_args(argv)
    config = with_sizes(load(arguments.params).raw, json.loads(arguments.sizes))
    table, device = planned_and_spent(config, machine().gpus)
    write_parquet(table, arguments.parquet)
    with atomic_path(arguments.csv) as path:
        table.write_csv(path)
    page = render(arguments.template, context(arguments, config, table, device))
    with atomic_path(arguments.output) as path:
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    run_main(main)
