"""Rule `write_provenance`: what the results were computed from and at what cost, as a page and as a table of costs.

The page loads nothing, and prints neither the environment nor a password or key in an address of the configuration.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.config.plain import read_yaml
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.plan.costs import costs, on_a_cluster
from workflow_scripts.lib.plan.jobs import dry_run
from workflow_scripts.lib.plan.table import ASSUMPTIONS
from workflow_scripts.lib.report.parts import render
from workflow_scripts.lib.report.provenance_page import Inputs, provenance_values
from workflow_scripts.lib.runtime.machine import device_key, machine
from workflow_scripts.lib.storage.files import atomic_path
from workflow_scripts.lib.storage.tables import write_parquet

OWN = ("write_provenance",)
"""Rules that the costs omit: this one is still running while it counts."""
CLUSTER = "h100"
"""The device that a cluster's jobs are planned on, where this job cannot see its GPUs."""


def with_sizes(config: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration with the sizes of models, which reach this job as a resource."""
    models = {name: {**entry, "size": sizes.get(name)} for name, entry in config["models"].items()}
    return {**config, "models": models}


def planned_and_spent(config: dict[str, Any], gpus: tuple[str, ...]) -> tuple[pl.DataFrame, str]:
    """Tabulate the costs of all jobs of the configuration, and name the device that they were planned on."""
    with tempfile.TemporaryDirectory() as folder:
        study = Path(folder) / "study.json"
        study.write_text(json.dumps({key: value for key, value in config.items() if key != "study"}))
        jobs = [job for job in dry_run([study], every=True, study=config["study"]) if job.rule not in OWN]
    devices = read_yaml(ASSUMPTIONS)["devices"]
    cluster = on_a_cluster()
    key = CLUSTER if cluster and not gpus else device_key(gpus, list(devices))
    return costs(config, jobs, key, holds_gpus=bool(gpus) or cluster), devices[key]["name"]


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
    inputs = Inputs(arguments.problems, arguments.probes, [*arguments.tables, *arguments.probes, arguments.report])
    page = render(arguments.template, provenance_values(inputs, config, table, device, Path.cwd()))
    with atomic_path(arguments.output) as path:
        path.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    run_main(main)
