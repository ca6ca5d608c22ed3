"""Snakemake's records of each job: seconds and memory, one file per job under `results/benchmarks`."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Spent:
    """Wall-clock seconds, processor seconds and the largest resident memory (MiB; none where a job was too short)."""

    seconds: float
    cpu_seconds: float
    memory: float | None


def read_spent(path: str | Path) -> Spent | None:
    """Read the costs of a job; None where its file is missing or truncated.

    Such a job counts as one without a record.
    """
    try:
        first = json.loads(Path(path).read_text(encoding="utf-8").splitlines()[0])
        return Spent(float(first["s"]), number(first.get("cpu_time")) or 0.0, number(first.get("max_rss")))
    except (OSError, ValueError, KeyError, IndexError):
        return None


def number(value: object) -> float | None:
    """Return a number; None where Snakemake could not measure (it writes NA and the like)."""
    return float(value) if isinstance(value, int | float) else None


def read_all(paths: Iterable[str]) -> dict[str, Spent]:
    """Read the costs of the jobs of some benchmark files, as far as the files exist."""
    return {path: spent for path in paths if path and (spent := read_spent(path))}
