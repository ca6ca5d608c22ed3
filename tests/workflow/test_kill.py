"""kill -9 in every stage at random moments, over and over in one run, and every record as if nothing had happened."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

from tests.workflow.study import differences, environment, make_study, records, rules

MODES = ["the workflow", "the workflow and its jobs", "the jobs"]
SEED = 6
POINTS = 20
"""At least so many jobs are to die at work."""


def started(folder: Path, since: float) -> set[str]:
    """Rules of which a job has started since then."""
    logs = folder / "results" / "logs"
    found = set()
    for log in logs.rglob("*.log"):
        with suppress(FileNotFoundError):  # the workflow takes a log away before its job writes it anew
            if log.stat().st_mtime > since:
                found.add(log.relative_to(logs).parts[0].removesuffix(".log"))
    return found


def at_work(run: subprocess.Popen[bytes]) -> dict[str, psutil.Process]:
    """Rule -> a process of it that is at work, a child of the shell that keeps the rule's log."""
    found = {}
    for shell in psutil.Process(run.pid).children(recursive=True):
        with suppress(psutil.Error):
            rule = re.search(r"tee results/logs/(\w+)", " ".join(shell.cmdline()))
            for process in shell.children():
                if rule and any(word.startswith("workflow_scripts.") for word in process.cmdline()):
                    found[rule.group(1)] = process
    return found


def seconds(finished: Path) -> dict[str, float]:
    """How long the shortest job of each rule took in an undisturbed run."""
    folder = finished / "results" / "benchmarks"
    found: dict[str, float] = {}
    for path in folder.rglob("*.jsonl"):
        rule = path.relative_to(folder).parts[0].removesuffix(".jsonl")
        took = float(json.loads(path.read_text().splitlines()[0])["s"])
        found[rule] = min(took, found.get(rule, took))
    return found


def run_until_killed(
    folder: Path, printed: Path, spared: set[str], mode: str, chance: random.Random, took: dict[str, float]
) -> set[str] | None:
    """Run until a job of a rule outside `spared` is at work, and kill at some moment of it; None: the run ended first.

    Returns the rules whose jobs died.
    """
    begin = time.time()
    command = [sys.executable, "-m", "snakemake", "--cores", "2"]
    with printed.open("wb") as file:
        run = subprocess.Popen(command, cwd=folder, env=environment(), stdout=file, stderr=file, start_new_session=True)
    try:
        while not (fresh := started(folder, begin) - spared):
            if run.poll() is not None:
                assert run.returncode == 0, printed.read_text()
                return None
            assert time.time() < begin + 1800
            time.sleep(0.02)
        delay = chance.random() * 0.4 * min(took[rule] for rule in fresh)
        time.sleep(delay)
        while not (victims := at_work(run)) and run.poll() is None:  # between two jobs
            time.sleep(0.01)
        print(f"{mode} killed {delay:.2f} s after {', '.join(sorted(fresh))} began, at work: {', '.join(victims)}")
        if mode == "the jobs":
            for process in victims.values():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return set(victims) if run.wait(timeout=300) else set()  # a job may end in the very moment
        return set(victims)
    finally:
        if run.poll() is None:
            (os.kill if mode == "the workflow" else os.killpg)(run.pid, signal.SIGKILL)
        run.wait()


def times(folder: Path) -> dict[Path, int]:
    """When each finished job's benchmark was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "results" / "benchmarks").rglob("*.jsonl")}


def test_killed_in_every_rule_the_results_are_those_of_an_undisturbed_run(finished: Path, tmp_path: Path) -> None:
    folder, chance, took = (
        make_study(tmp_path / "study", finished / "resources" / "models" / "tiny"),
        random.Random(SEED),
        seconds(finished),
    )
    named = re.compile(r"^(?:rule|use rule \w+ as) (\w+)", re.MULTILINE)
    files = (folder / "rules").glob("*.smk")
    stages = {rule: file.stem for file in files for rule in named.findall(file.read_text())}
    spared: set[str] = set()
    hits: list[str] = []
    done: dict[Path, int] = {}
    for number in range(2 * len(took)):
        mode = MODES[number % len(MODES)]
        printed = tmp_path / f"{number}.txt"
        died = run_until_killed(folder, printed, spared, mode, chance, took)
        if died is None:
            break
        hits += sorted(died)
        spared |= died
        if mode == "the jobs" and died:
            said = "error: the job was ended by signal 9, often for lack of memory; finished shards are kept: run again"
            assert said in printed.read_text()
        done = times(folder) | done
    print(f"{len(hits)} jobs died: {', '.join(hits)}")
    assert died is None
    assert len(hits) >= POINTS
    assert {stages[rule] for rule in hits} == {stages[rule] for rule in took}
    # A short job may end before its moment comes.
    assert len(set(took) - set(hits)) <= len(took) // 4, set(took) - set(hits)
    assert "left behind" in "".join(path.read_text() for path in tmp_path.glob("*.txt"))
    assert differences(records(finished), records(folder)) == []
    assert rules(folder) == {}
    # A job that ends in the very moment of the kill is not yet known as finished.
    repeated = [path for path, before in done.items() if path.stat().st_mtime_ns != before]
    assert len(repeated) <= 2, repeated
