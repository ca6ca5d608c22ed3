"""What Snakemake itself costs: seconds to build the graph of a large study, and overhead for each job of a real run.

Usage: python -m benchmarks.bench_workflow [--times 10] [--data-sets 50] [--cores 2]
A dry run of studies/paper.yaml, and of the same with every model under as many names: runs, and so jobs, grow with it.
Then a real run of two jobs for each of many small data sets; one fetches a file, one reads it. Overhead for each job is
what remains of the time by the clock beyond the jobs' own seconds (`results/benchmarks`), which the cores share:
(clock - sum of seconds / cores) / jobs. Starting Snakemake, shells, recording, idle cores: everything counts.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.bench_study import LEFT_OUT
from benchmarks.timing import machine

STAGES = ("rollouts", "values", "value_probes", "dopamine_probes", "interventions", "transfer", "confidence", "search")


def multiplied(study: dict[str, Any], times: int) -> dict[str, Any]:
    """Return the study with every model under `times` names, and every run with each of them."""

    def names(name: str) -> list[str]:
        return [name, *(f"{name}-copy{number}" for number in range(1, times))]

    large = dict(study)
    large["models"] = {copy: entry for name, entry in study["models"].items() for copy in names(name)}
    for stage in (*STAGES, "trajectories"):
        pairs = (run.split("/") for run in study[stage]["runs"])
        runs = [f"{copy}/{dataset}" for model, dataset in pairs for copy in names(model)]
        large[stage] = {**study[stage], "runs": runs}
    return large


def many_data_sets(folder: Path, count: int) -> tuple[dict[str, Any], list[str]]:
    """Write files of ten problems; return their entries and the targets that read them all."""
    entries: dict[str, Any] = {}
    fields = {"id": "id", "question": "question", "gold": "answer"}
    for number in range(count):
        lines = [{"id": str(i), "question": f"What is {i} + {number}?", "answer": str(i + number)} for i in range(10)]
        path = folder / f"{number}.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entry = {"source": "file", "url": path.as_uri(), "sha256": digest, "fields": fields}
        entries[f"set{number}"] = {**entry, "n_problems": 10, "answer": "math"}
    return {"datasets": entries}, [f"results/problems/{name}/0.parquet" for name in entries]


def run(copy: Path, *arguments: str) -> tuple[float, str]:
    """Run Snakemake in the copy; return the seconds and what it printed."""
    start = time.monotonic()
    command = [str(Path(".venv/bin/snakemake").absolute()), *arguments]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    seconds = time.monotonic() - start
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return seconds, done.stdout + done.stderr


def dry_run(copy: Path, study: str) -> None:
    """Time a dry run and print it beside its number of jobs."""
    seconds, printed = run(copy, "--dry-run", "--configfile", "config.yaml", study)
    (jobs,) = set(re.findall(r"^total +(\d+)$", printed, flags=re.MULTILINE))  # said at the start and at the end
    print(f"dry run of {study}: {jobs} jobs, {seconds:.1f} s")


def overhead(copy: Path, count: int, cores: int) -> None:
    """Run the jobs of many data sets and print what each cost beyond its own work."""
    (copy / "data").mkdir()
    config, targets = many_data_sets(copy / "data", count)
    (copy / "many.yaml").write_text(yaml.safe_dump(config))
    clock, _ = run(copy, "--cores", str(cores), "--configfile", "config.yaml", "many.yaml", "--", *targets)
    records = [json.loads(path.read_text()) for path in (copy / "results/benchmarks").rglob("*.jsonl")]
    own = sum(record["s"] for record in records)
    each = (clock - own / cores) / len(records)
    print(f"{len(records)} jobs on {cores} cores: {clock:.1f} s, their own {own:.1f} s, overhead {each:.2f} s a job")


def main() -> None:
    """Measure in a copy of the project, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--data-sets", type=int, default=50)
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    print(machine())
    with tempfile.TemporaryDirectory(prefix="workflow-") as folder:
        copy = Path(folder) / "project"
        shutil.copytree(Path.cwd(), copy, ignore=LEFT_OUT)
        large = multiplied(yaml.safe_load((copy / "studies/paper.yaml").read_text()), arguments.times)
        (copy / "large.yaml").write_text(yaml.safe_dump(large, sort_keys=False))
        dry_run(copy, "studies/paper.yaml")
        dry_run(copy, "large.yaml")
        overhead(copy, arguments.data_sets, arguments.cores)


if __name__ == "__main__":
    main()
