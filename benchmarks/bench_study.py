"""Time and peak memory of a study from scratch, in a copy of the project with an empty results folder.

Usage: python -m benchmarks.bench_study [--study studies/reference.yaml] [--cores 2]
       python -m benchmarks.bench_study --finished FOLDER     # a copy that was kept, or a project that has run
The environment must exist; it is shared with the copy. Then the times of the jobs, from `results/benchmarks` of the
copy: the seconds of each rule, the longest chain of jobs that wait for each other, and how long the study takes on more
cores. That is simulated: a job takes its measured seconds; of the jobs that are ready, the one with the longest chain
behind it comes first.
"""

import argparse
import heapq
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import psutil

from workflow_scripts.lib.plan.jobs import Job, dry_run
from workflow_scripts.lib.plan.recorded import Spent, read_spent

LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "__pycache__", ".*_cache")
EVERY = 0.5
"""Seconds between two looks at memory."""


def memory(process: psutil.Process) -> int:
    """Count the bytes held by a process and all it started, shared pages once (proportional set size)."""
    total = 0
    for member in [process, *process.children(recursive=True)]:
        try:
            total += member.memory_full_info().pss
        except psutil.Error:  # it ended while we looked
            continue
    return total


Chains = dict[Job, tuple[float, "Job | None"]]
"""For each job: the seconds of the longest chain that begins with it, and the next job of that chain."""


def users(jobs: Sequence[Job]) -> dict[Job, list[Job]]:
    """List the jobs that wait for each job."""
    makers = {path: job for job in jobs for path in job.outputs}
    waiting: dict[Job, list[Job]] = {job: [] for job in jobs}
    for job in jobs:
        for maker in {makers[path] for path in job.inputs if path in makers}:
            waiting[maker].append(job)
    return waiting


def chains(waiting: dict[Job, list[Job]], seconds: dict[Job, float]) -> Chains:
    """Find the longest chain behind each job."""
    known: Chains = {}

    def chain(job: Job) -> float:
        if job not in known:
            after = max(waiting[job], key=chain, default=None)
            known[job] = (seconds[job] + (known[after][0] if after else 0), after)
        return known[job][0]

    for job in waiting:
        chain(job)
    return known


def makespan(waiting: dict[Job, list[Job]], seconds: dict[Job, float], known: Chains, cores: int) -> float:
    """Return the seconds on some cores; a job takes its threads, or all cores if these are fewer."""
    blocked = Counter(job for later in waiting.values() for job in later)
    ready = [job for job in waiting if not blocked[job]]
    running: list[tuple[float, int, Job]] = []
    free, now = cores, 0.0
    while ready or running:
        for job in sorted(ready, key=lambda job: -known[job][0]):
            if (threads := min(job.threads, cores)) <= free:
                ready.remove(job)
                free -= threads
                heapq.heappush(running, (now + seconds[job], id(job), job))
        now, _, ended = heapq.heappop(running)
        free += min(ended.threads, cores)
        for job in waiting[ended]:
            blocked[job] -= 1
            ready += [job] if not blocked[job] else []
    return now


def print_jobs(folder: Path, files: Sequence[str]) -> None:
    """Print the seconds of each rule, the longest chain, and the time on more cores."""
    with chdir(folder):
        jobs = [job for job in dry_run(files, every=True) if read_spent(job.benchmark)]
        records = {job: read_spent(job.benchmark) for job in jobs}
    seconds = {job: spent.seconds for job, spent in records.items() if spent}
    by_rule: dict[str, list[Spent]] = defaultdict(list)
    for job, spent in records.items():
        by_rule[job.rule] += [spent] if spent else []
    print(f"{'rule':28}{'jobs':>5}{'seconds':>9}{'CPU':>9}{'MiB':>7}")
    for rule, listed in sorted(by_rule.items(), key=lambda item: -sum(spent.cpu_seconds for spent in item[1])):
        cpu, most = sum(spent.cpu_seconds for spent in listed), max(spent.memory or 0 for spent in listed)
        print(f"{rule:28}{len(listed):5}{sum(spent.seconds for spent in listed):9.1f}{cpu:9.1f}{most:7.0f}")
    total = sum(spent.cpu_seconds for listed in by_rule.values() for spent in listed)
    print(f"{'all':28}{len(jobs):5}{sum(seconds.values()):9.1f}{total:9.1f}")
    waiting = users(jobs)
    known = chains(waiting, seconds)
    step: Job | None = max(jobs, key=lambda job: known[job][0], default=None)
    print(f"longest chain: {known[step][0] / 60 if step else 0:.1f} minutes")
    while step:
        print(f"  {seconds[step]:7.1f} s  {step.rule} {' '.join(step.wildcards.values())}")
        step = known[step][1]
    for cores in (2, 4, 8, 16):
        print(f"simulated on {cores} cores: {makespan(waiting, seconds, known, cores) / 60:.1f} minutes")


def main() -> None:
    """Copy, run, watch, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", nargs="*", default=[], help="configuration files laid over config.yaml")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--keep", type=Path, help="leave the copy here instead of deleting it")
    parser.add_argument("--finished", type=Path, help="run nothing; print the times of the jobs in this folder")
    arguments = parser.parse_args()
    if arguments.finished:
        print_jobs(arguments.finished, arguments.study)
        return
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
        made = any(copy.glob("results/**/report.html"))
        print(f"exit status {running.returncode}, report {'written' if made else 'missing'}")
        print(f"{(time.monotonic() - start) / 60:.1f} minutes on {arguments.cores} cores, peak {peak / 2**30:.2f} GiB")
        print_jobs(copy, arguments.study)
    finally:
        if arguments.keep is None:
            shutil.rmtree(copy)


if __name__ == "__main__":
    main()
