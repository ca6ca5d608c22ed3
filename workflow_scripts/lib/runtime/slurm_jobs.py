"""The SLURM jobs of this folder: find them, cancel them, and report those that SLURM restarted.

Snakemake knows the jobs of the active run and no others. After kill -9 its jobs continue, and the next run would submit
the same ones again: two writers for every file.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError, one_line

JOB_NAME = re.compile(r"([\w-]+_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Snakemake names jobs by their run. Other jobs of the folder (perhaps the one that this runs in) are left alone."""
NOTICES = Path(".snakemake/slurm_notices")
PATIENCE = 300
"""Seconds until cancelled jobs must be gone. SLURM kills after KillWait, half a minute by default."""


def unfinished_jobs(folder: Path) -> list[str]:
    """Return ids of this user's jobs that Snakemake submitted in `folder` and that wait, run, or are being cancelled.

    Raises:
        UserError: SLURM does not answer.
    """
    lines = ask("squeue", "--me", "--noheader", "--format=%i|%j|%Z").splitlines()
    jobs = [line.split("|", 2) for line in lines]
    return [job for job, name, where in jobs if JOB_NAME.fullmatch(name) and Path(where).resolve() == folder.resolve()]


def cancel_orphans(folder: Path, patience: float = PATIENCE) -> int:
    """Cancel the folder's jobs and wait until they are gone; return their number.

    Raises:
        UserError: SLURM does not answer, or jobs remain after `patience` seconds.
    """
    orphans = remaining = unfinished_jobs(folder)
    if orphans:
        ask("scancel", *orphans)
    begin = time.monotonic()
    while remaining:
        if time.monotonic() > begin + patience:
            raise UserError(
                f"SLURM jobs {' '.join(remaining)} of a killed run do not end and may still write files of {folder}; "
                "see `squeue --me`, wait until they are gone, and run again"
            )
        time.sleep(1)
        remaining = unfinished_jobs(folder)
    return len(orphans)


def know_cancelled_jobs() -> None:
    """Make the SLURM plugin treat cancelled jobs as ended when it asks sacct.

    Workaround for snakemake-executor-plugin-slurm 2.8.0: sacct prints `CANCELLED by 1000`, with the user's number; the
    plugin knows only `CANCELLED` and would wait for such a job for ever. Check with every later version whether its
    `query_job_status` does this itself; then remove this function.
    """
    plugin = sys.modules.get("snakemake_executor_plugin_slurm")
    query = getattr(plugin, "query_job_status", None)
    if query is None:
        return

    async def first_words(*arguments: Any) -> tuple[dict[str, str] | None, float | None]:
        states, seconds = await query(*arguments)
        return states and {job: state.partition(" ")[0] for job, state in states.items()}, seconds

    vars(plugin)["query_job_status"] = first_words


def ask(*command: str) -> str:
    """Run a SLURM command and return what it prints.

    Raises:
        UserError: the command does not exist, fails, or takes more than a minute.
    """
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or "").strip()
        reason = said.splitlines()[0] if said else one_line(error)
        raise UserError(
            f"{command[0]}: SLURM does not answer ({reason}), so jobs of an earlier run may still be active; "
            "nothing was submitted, run again when it does"
        ) from error


def note_restart() -> None:
    """Write a line for the run's terminal, which is on another machine, if SLURM restarted this job."""
    if not os.environ.get("SLURM_RESTART_COUNT", "").strip("0"):
        return
    target = sys.argv.index("--target-jobs") + 1 if "--target-jobs" in sys.argv[:-1] else 0
    line = f"SLURM job {os.environ['SLURM_JOB_ID']} ({sys.argv[target]}) was preempted or lost its node; it restarted\n"
    with NOTICES.open("a") as file:
        file.write(line)


def print_notices() -> None:
    """Print the notices of jobs, once."""
    if NOTICES.exists():
        print(NOTICES.read_text(), end="", file=sys.stderr, flush=True)
        NOTICES.unlink(missing_ok=True)
