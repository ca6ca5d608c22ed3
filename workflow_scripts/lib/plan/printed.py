"""Print a plan: stages, lengths, and the sources of the numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.formatting import short, spread, tenths
from workflow_scripts.lib.plan.table import ASSUMPTIONS, Basis, by, used_models
from workflow_scripts.lib.storage.files import atomic_path

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
    """Format one line of the table."""
    cells = [str(row["jobs"])]
    for key in list(COLUMNS)[1:]:
        cells.append(spread(row[f"{key}_low"], row[f"{key}_high"], tenths if key.endswith("hours") else short))
    return f"{name:16}" + "".join(f"{cell:>{width + 1}}" for cell, width in zip(cells, WIDTHS.values(), strict=True))


def table(rows: pl.DataFrame) -> list[str]:
    """Format the plan by stage, and its total."""
    head = f"{'stage':16}" + "".join(f"{COLUMNS[key]:>{width + 1}}" for key, width in WIDTHS.items())
    lines = [line(row["stage"], row) for row in by(rows, "stage").to_dicts()]
    return [head, *lines, line("all", in_all(rows))]


def in_all(rows: pl.DataFrame) -> dict[str, Any]:
    """Sum the plan over all rules."""
    return rows.select(pl.col(name).sum() for name in rows.columns[4:]).to_dicts()[0]


def lengths_lines(ends: Sequence[Basis]) -> list[str]:
    """List the lengths assumed for every run, and why; runs that share a reason share a line."""
    grouped: dict[str, list[str]] = {}
    for run, low in ends[0].lengths.items():
        high = ends[1].lengths[run]
        text = ", ".join(
            f"{name} {spread(one, other)}"
            for name, one, other in (
                ("prompt", low.prompt, high.prompt),
                ("response", low.response, high.response),
                ("paragraphs", low.paragraphs, high.paragraphs),
            )
        )
        grouped.setdefault(f"{text} ({low.source})", []).append(run)
    return [f"  {text}: {', '.join(runs)}" for text, runs in grouped.items()]


def sources(config: dict[str, Any], ends: Sequence[Basis], here: bool) -> list[str]:
    """List the sources of the numbers."""
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
        numbers = ", ".join(f"{run} {n:.1f}" for run, n in measured.items() if run in config["values"]["runs"])
        lines.append(
            f"Continuations of a boundary: {adaptive['first']} to {adaptive['budget']}"
            + (f"; measured: {numbers}." if numbers else ".")
        )
    unknown = [name for name in used_models(config) if name not in ends[0].sizes]
    if unknown:
        lines.append(f"Not in hours and bytes (models.<name>.size is missing): {', '.join(unknown)}.")
    return lines


def write(rows: pl.DataFrame, output: Path) -> None:
    """Write the plan by rule and run, in the format that the file's ending names.

    Raises:
        UserError: the ending is of no known format.
    """
    writers: dict[str, Any] = {".csv": rows.write_csv, ".json": rows.write_json, ".parquet": rows.write_parquet}
    if output.suffix not in writers:
        raise UserError(f"--output {output}: the name must end in {', '.join(writers)}")
    with atomic_path(output) as path:
        writers[output.suffix](path)
