"""The progress of a whole run: the share of its work that is done and the time left, in one line when a job ends.

Jobs differ by a factor of hundreds, so that their number says little. Each job counts with its planned seconds
(`plan.table`); once a rule has finished jobs, its other jobs count with the mean of what these took.
"""

import logging
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

EVERY = 10.0
"""Least seconds between two lines."""


@dataclass(frozen=True)
class Planned:
    """A job of the run: its rule and its planned seconds."""

    rule: str
    seconds: float


class StudyProgress(logging.Handler):
    """Prints the line when a job ends. `jobs` are those of the run, by Snakemake's number; `now` gives seconds."""

    def __init__(self, jobs: Mapping[int, Planned], now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.jobs, self.now = jobs, now
        self.start = self.last = now()
        self.running: dict[int, float] = {}
        self.left = set(jobs)
        self.took: dict[str, list[float]] = defaultdict(list)
        self.planned: dict[str, list[float]] = defaultdict(list)

    def emit(self, record: logging.LogRecord) -> None:
        """Take in the start or the end of jobs, and print a line if one is due."""
        event, fields = getattr(record, "event", None), vars(record)
        if event == LogEvent.JOB_STARTED:
            self.running |= dict.fromkeys(fields["jobs"], self.now())
        elif event == LogEvent.JOB_FINISHED and fields["job_id"] in self.left:
            self.finish(fields["job_id"])
            if self.now() - self.last >= EVERY or not self.left:
                self.last = self.now()
                print(self.line(), file=sys.stderr, flush=True)

    def finish(self, number: int) -> None:
        """Take in the end of a job."""
        job = self.jobs[number]
        self.left.discard(number)
        self.took[job.rule].append(self.now() - self.running.pop(number, self.start))
        self.planned[job.rule].append(job.seconds)

    def expected(self) -> dict[int, float]:
        """Return the seconds that each unfinished job is expected to take."""
        took, planned = (sum(map(sum, by_rule.values())) for by_rule in (self.took, self.planned))
        factor = took / planned if planned else 1.0
        measured = {rule: mean(seconds) for rule, seconds in self.took.items()}
        jobs = {number: self.jobs[number] for number in self.left}
        return {number: measured.get(job.rule, factor * job.seconds) for number, job in jobs.items()}

    def line(self) -> str:
        """Return the line: `study: 41 % of the work done, 7 min left`."""
        now, done = self.now(), sum(map(sum, self.took.values()))
        gone = {number: now - begun for number, begun in self.running.items()}
        each = {number: max(0.0, seconds - gone.get(number, 0.0)) for number, seconds in self.expected().items()}
        spent, left = done + sum(gone.values()), sum(each.values())
        side_by_side = max(spent / max(now - self.start, 1e-9), 1.0)
        minutes = max(left / side_by_side, max(each.values(), default=0.0)) / 60
        share = 100 * spent / (spent + left) if spent + left else 100
        time_left = "less than a minute" if minutes < 1 else f"about {minutes:.0f} min"
        return f"study: {share:.0f} % of the work done, {time_left} left" if self.left else "study: all work done"


def planned_jobs(config: dict[str, Any], dag: Any) -> dict[int, Planned]:
    """Return the jobs that a run has to do, with their planned seconds: the middle of the plan's range."""
    from workflow_scripts.lib.config.plain import read_yaml  # only a run needs these, and not every start of Snakemake
    from workflow_scripts.lib.plan.jobs import Job
    from workflow_scripts.lib.plan.table import ASSUMPTIONS, ENDS, key_of, plan
    from workflow_scripts.lib.runtime.devices import gpus
    from workflow_scripts.lib.runtime.machine import device_key

    jobs = {
        job: Job(job.rule.name, dict(job.wildcards_dict), int(job.resources.get("gpu", 0) or 0), "", ())
        for job in dag.jobs
        if job.rule.name != "all"
    }
    device = device_key(gpus(), list(read_yaml(ASSUMPTIONS)["devices"]))
    rows = plan(config, list(jobs.values()), [], device, None).to_dicts()
    seconds = {}
    for row in rows:
        hours = sum(row[f"{kind}_hours_{end}"] for kind in ("gpu", "cpu") for end in ENDS) / 2
        seconds[row["rule"], row["model"], row["dataset"]] = 3600 * hours / row["jobs"]
    needed = set(dag.needrun_jobs())
    return {job.jobid: Planned(of.rule, seconds[key_of(of)]) for job, of in jobs.items() if job in needed}


def print_study_progress(config: dict[str, Any], dag: Any) -> None:
    """Print a line of progress from now on, as jobs end."""
    logging.getLogger("snakemake.logging").addHandler(StudyProgress(planned_jobs(config, dag)))
