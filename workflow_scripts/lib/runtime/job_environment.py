"""The environment of a run's jobs: the project's own Python, and shares of the computer's GPUs and memory."""

import os
import sys
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.runtime import run_lock
from workflow_scripts.lib.runtime.devices import SHARED, VISIBLE, devices
from workflow_scripts.lib.runtime.memory import memory_for_jobs
from workflow_scripts.lib.runtime.slurm_jobs import note_restart


def prepare(workflow: Any) -> None:
    """Prepare the environment of jobs, once the rules are known; in a job's own Snakemake, note a restart by SLURM.

    Raises:
        UserError: a rule needs more GPUs than there are.
    """
    put_own_python_first()
    note_restart()
    if workflow.is_main_process:
        os.environ.pop(SHARED, None)
        if workflow.resource_settings.nodes is None:  # else jobs are submitted to other computers
            share_devices(workflow)
            share_memory(workflow)


def begin(workflow: Any) -> None:
    """Begin a run, once it is clear that there is something to do: lock the folder, let jobs start when they are ready.

    Raises:
        UserError: another run works in this folder.
    """
    run_lock.acquire(slurm=workflow.executor_plugin.name == "slurm")
    drop_default_rate_limit(workflow)


def drop_default_rate_limit(workflow: Any) -> None:
    """Start jobs whenever they are ready in a run on this computer, unless the user limits their rate.

    With a limit (by default 100 a second, for the sake of clusters), Snakemake 9.27 looks at the files of all ready
    jobs again every second, once for each job that has ended so far: at the end of a study, two thirds of a core.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if workflow.resource_settings.nodes is None and limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def put_own_python_first() -> None:
    """Put the folder of the project's own Python (`.venv`, made by `make`) first in PATH, which jobs inherit.

    Without `.venv`, use the Python that runs Snakemake. On a cluster the two differ, because Snakemake submits from a
    small environment of its own. A conda environment (`--sdm conda`) takes precedence over both.
    """
    project = Path.cwd() / ".venv" / "bin"
    first = project if (project / "python").exists() else Path(sys.executable).parent
    os.environ["PATH"] = os.pathsep.join([str(first), *os.get_exec_path()])


def share_devices(workflow: Any) -> None:
    """Limit concurrent GPU jobs to the number of GPUs; refuse, before any work, a rule that needs more.

    Snakemake alone would run a rule that asks for too many with fewer. `--resources gpu=N` allows fewer than there are,
    0 none. Without GPUs there is no limit, and a rule that asks for one computes on the CPU.

    Raises:
        UserError: a rule needs more GPUs than there are, or than the user allows.
    """
    available, allowed = len(devices()), workflow.global_resources.get("gpu").value
    for rule in workflow.rules:
        gpus = rule.resources.get("gpu")
        if not gpus.is_evaluable() and isinstance(gpus.value, int):  # else `devices.claim` refuses
            refuse_too_many(rule.name, gpus.value, available, allowed)
    if allowed == 0:
        os.environ[VISIBLE] = ""
    elif available:
        workflow.register_resource("gpu", min(available, allowed or available))
    os.environ[SHARED] = os.environ.get("SLURM_JOB_ID", "")


def share_memory(workflow: Any) -> None:
    """Limit what concurrent jobs declare to the memory that is free now, unless the user gives a limit (`mem_mb`).

    A job that declares more than the limit runs alone.
    """
    if workflow.global_resources.get("mem_mb").value is None:
        workflow.register_resource("mem_mb", memory_for_jobs())


def refuse_too_many(rule: str, requested: int, available: int, allowed: int | None) -> None:
    """Raise if a rule needs more GPUs than there are or are allowed; 1 is never too many.

    Raises:
        UserError: it needs more.
    """
    limits = ((available, f"this machine has {available}"), (allowed, f"--resources gpu={allowed} allows no more"))
    for most, reason in limits:
        if most is not None and requested > max(most, 1):
            remedy = f"ask for {max(most, 1)} (--set-resources {rule}:gpu={max(most, 1)})"
            raise UserError(f"rule {rule} needs {requested} GPUs, but {reason}; {remedy}")
