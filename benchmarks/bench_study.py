"""Time and peak memory of a study from scratch, in a copy of the project with an empty results folder.

Usage: python -m benchmarks.bench_study [--study studies/reference.yaml] [--cores 2]
The environment must exist; it is shared with the copy. The figures of the jobs are in `results/benchmarks` of the copy.
"""

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__", ".*_cache")
EVERY = 0.5
"""Seconds between two looks at memory."""


def memory(process: psutil.Process) -> int:
    """Bytes held by a process and all it started, shared pages counted once (proportional set size)."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except psutil.Error:  # it ended while we looked
            continue
    return total


def main() -> None:
    """Copy, run, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", nargs="*", default=[], help="configuration files laid over config.yaml")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="leave the copy here instead of deleting it")
    arguments = parser.parse_args()
    root = Path.cwd()
    copy = (arguments.keep or Path(tempfile.mkdtemp(prefix="study-"))).resolve()
    shutil.copytree(root, copy, ignore=LEFT_OUT, dirs_exist_ok=True)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.cores])
    command = [str(root / ".venv/bin/snakemake"), "--cores", str(arguments.cores)]
    command += ["--configfile", "config.yaml", *arguments.study]
    start, peak = time.monotonic(), 0
    try:
        with subprocess.Popen(command, cwd=copy) as running:
            watched = psutil.Process(running.pid)
            while running.poll() is None:
                peak = max(peak, memory(watched))
                time.sleep(EVERY)
        made = (copy / "results/report.html").is_file()
        print(f"exit status {running.returncode}, report {'written' if made else 'missing'}")
        print(f"{(time.monotonic() - start) / 60:.1f} minutes on {arguments.cores} cores, peak {peak / 2**30:.2f} GiB")
    finally:
        if arguments.keep is None:
            shutil.rmtree(copy)


if __name__ == "__main__":
    main()
