"""What a study will cost, before anything is run: `make plan STUDY=studies/paper.yaml GPU=h100`.

Jobs are the workflow's own, counted by a dry run. Tokens follow from the configuration and from expected lengths, hours
from data sheets and reached shares of their peaks (`resources/plan/assumptions.yaml`, `lib/plan/work.py`,
`lib/plan/rates.py`). Lengths of finished shards replace expected ones; with `GPU=here`, finished jobs scale the hours.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.config.study import read_yaml
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.formatting import short, spread, tenths
from workflow_scripts.lib.plan.jobs import dry_run
from workflow_scripts.lib.plan.recorded import read_all
from workflow_scripts.lib.plan.table import (
    ASSUMPTIONS,
    Basis,
    at_measured_rates,
    basis,
    by,
    plan,
    to_do_part,
    used_models,
)
from workflow_scripts.lib.runtime.devices import gpus
from workflow_scripts.lib.runtime.machine import device_key
from workflow_scripts.lib.storage.files import atomic_path

RESULTS = Path("results")
DEFAULT = "h100"
COLUMNS = {
    "jobs": "jobs",
    "generated": "tokens generated",
    "read": "tokens read",
    "gpu_hours": "GPU hours",
    "cpu_hours": "CPU hours",
    "disk": "bytes",
}
WIDTHS = {"jobs": 6, "generated": 17, "read": 17, "gpu_hours": 15, "cpu_hours": 13, "disk": 16}


def line(name: str, row: dict[str, Any]) -> str:
    """One line of the table."""
    cells = [str(row["jobs"])]
    for key in list(COLUMNS)[1:]:
        cells.append(spread(row[f"{key}_low"], row[f"{key}_high"], tenths if key.endswith("hours") else short))
    return f"{name:16}" + "".join(f"{cell:>{width + 1}}" for cell, width in zip(cells, WIDTHS.values(), strict=True))


def table(rows: pl.DataFrame) -> list[str]:
    """The plan by stage, and in all."""
    head = f"{'stage':16}" + "".join(f"{COLUMNS[key]:>{width + 1}}" for key, width in WIDTHS.items())
    lines = [line(row["stage"], row) for row in by(rows, "stage").to_dicts()]
    return [head, *lines, line("all", in_all(rows))]


def in_all(rows: pl.DataFrame) -> dict[str, Any]:
    """The plan summed over all rules."""
    return rows.select(pl.col(name).sum() for name in rows.columns[4:]).to_dicts()[0]


def lengths_lines(ends: Sequence[Basis]) -> list[str]:
    """What every run's lengths are taken to be, and why; runs that share a reason share a line."""
    grouped: dict[str, list[str]] = {}
    for run, low in ends[0].lengths.items():
        high = ends[1].lengths[run]
        told = ", ".join(
            f"{name} {spread(one, other)}"
            for name, one, other in (
                ("prompt", low.prompt, high.prompt),
                ("response", low.response, high.response),
                ("paragraphs", low.paragraphs, high.paragraphs),
            )
        )
        grouped.setdefault(f"{told} ({low.source})", []).append(run)
    return [f"  {told}: {', '.join(runs)}" for told, runs in grouped.items()]


def sources(config: dict[str, Any], ends: Sequence[Basis], here: bool) -> list[str]:
    """Where the numbers come from."""
    device = ends[0].device
    lines = ["Jobs are counted by a dry run of the workflow. Tokens of a mean response:", *lengths_lines(ends)]
    lines += [
        f"Hours: {device.name}, {device.half / 1e12:g} Tflop/s in half and {device.single / 1e12:g} in single"
        f" precision, {device.bandwidth / 1e12:g} TB/s; reached shares and all other assumptions: {ASSUMPTIONS}.",
    ]
    if here:
        lines.append("Rules with finished jobs in results/benchmarks: hours as measured there, 20 % less to 25 % more.")
    adaptive = config["values"].get("adaptive")
    if adaptive:
        measured = {run: one.n_continuations for run, one in ends[0].lengths.items() if one.n_continuations}
        told = ", ".join(f"{run} {n:.1f}" for run, n in measured.items() if run in config["values"]["runs"])
        lines.append(
            f"Continuations of a boundary: {adaptive['first']} to {adaptive['budget']}"
            + (f"; measured: {told}." if told else ".")
        )
    unknown = [name for name in used_models(config) if name not in ends[0].sizes]
    if unknown:
        lines.append(f"Left out of hours and bytes, for want of models.<name>.size: {', '.join(unknown)}.")
    return lines


def write(rows: pl.DataFrame, output: Path) -> None:
    """Write the plan by rule and run, in the format that the file's ending names.

    Raises:
        UserError: it names none.
    """
    writers: dict[str, Any] = {".csv": rows.write_csv, ".json": rows.write_json, ".parquet": rows.write_parquet}
    if output.suffix not in writers:
        raise UserError(f"--output {output}: the name must end in {', '.join(writers)}")
    with atomic_path(output) as path:
        writers[output.suffix](path)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the plan.

    Raises:
        UserError: the configuration is refused, or the device is not described.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", help="studies to lay over config.yaml, later ones on top")
    parser.add_argument("--gpu", default=DEFAULT, help="a device of resources/plan/assumptions.yaml, or `here`")
    parser.add_argument("--output", type=Path, help="a .csv, .json or .parquet file for the plan by rule and run")
    arguments = parser.parse_args(argv)
    config = read_study(arguments.files)
    here = arguments.gpu == "here"
    key = device_key(gpus(), list(read_yaml(ASSUMPTIONS)["devices"])) if here else arguments.gpu
    ends = [basis(config, key, RESULTS, end) for end in (0, 1)]
    every, left = dry_run(arguments.files, every=True), dry_run(arguments.files, every=False)
    rows = plan(config, every, left, key, RESULTS)
    if here:
        spent = read_all(job.benchmark for job in every)
        rows = at_measured_rates(rows, every, {path: one.seconds for path, one in spent.items()})
    print(f"Plan of the study `{config['study']}` on {ends[0].device.name} (GPU={key}). Nothing was run.\n")
    print(*table(rows), sep="\n")
    if len(left) < len(every):
        print(f"\nStill to do: {len(left)} of {len(every)} jobs", *table(to_do_part(rows)), sep="\n")
    print("", *sources(config, ends, here), sep="\n")
    if arguments.output:
        write(rows, arguments.output)


if __name__ == "__main__":
    run_main(main)
