"""The line of progress of a whole run: shares and times from planned and from measured seconds."""

import logging

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from workflow_scripts.lib.plan.study_progress import Planned, StudyProgress


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Run:
    """A run of Snakemake as its log tells it."""

    def __init__(self, jobs: dict[int, Planned]) -> None:
        self.clock = Clock()
        self.progress = StudyProgress(jobs, self.clock)

    def log(self, event: LogEvent, **fields: object) -> None:
        record = logging.LogRecord("snakemake.logging", logging.INFO, "", 0, "", None, None)
        vars(record).update(event=event, **fields)
        self.progress.handle(record)

    def start(self, *jobs: int) -> None:
        self.log(LogEvent.JOB_STARTED, jobs=list(jobs))

    def finish(self, job: int, after: float) -> None:
        self.clock.now += after
        self.log(LogEvent.JOB_FINISHED, job_id=job)


JOBS = {0: Planned("short", 10), 1: Planned("long", 50), 2: Planned("long", 50), 3: Planned("other", 30)}


def test_a_rule_counts_by_what_its_jobs_took_and_another_by_its_plan(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run(JOBS)
    run.start(0)
    run.finish(0, after=20)  # twice the plan: 20 of 20 + 2 x 130
    assert capsys.readouterr().err == "study: 7 % of the work done, about 4 min left\n"
    run.start(1)
    run.finish(1, after=300)  # 320 of 320 + 300 for the second one + 30 x 320/60
    assert capsys.readouterr().err == "study: 41 % of the work done, about 8 min left\n"


def test_jobs_side_by_side_shorten_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run({number: Planned("same", 60) for number in range(6)})
    run.start(0, 1)
    run.finish(0, after=60)
    run.finish(1, after=0)  # too soon after the line before for another one
    assert capsys.readouterr().err == "study: 33 % of the work done, about 2 min left\n"
    run.start(2, 3)
    run.finish(2, after=60)
    assert capsys.readouterr().err == "study: 67 % of the work done, about 1 min left\n"


def test_a_long_job_bounds_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Two at a time do not shorten the last one."""
    run = Run({0: Planned("a", 600), 1: Planned("a", 600), 2: Planned("b", 6000)})
    run.start(0, 1)
    run.finish(0, after=600)
    assert "about 100 min left" in capsys.readouterr().err


def test_the_last_job_ends_it_and_a_repeated_one_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run({0: Planned("a", 1)})
    run.start(0)
    run.finish(0, after=0.1)
    assert capsys.readouterr().err == "study: all work done\n"
    run.finish(0, after=20)
    run.log(LogEvent.PROGRESS, done=1, total=1)
    assert capsys.readouterr().err == ""


def test_a_run_without_a_plan_for_its_jobs_still_counts(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run({0: Planned("a", 0), 1: Planned("b", 0)})
    run.start(0)
    run.finish(0, after=30)
    assert capsys.readouterr().err == "study: 100 % of the work done, less than a minute left\n"
