"""What the jobs of a run find around them: the project's own Python, and a share of the computer's GPUs."""

import os
import sys
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.runtime.devices import SHARED, VISIBLE, devices
from workflow_scripts.lib.runtime.slurm_jobs import note_restart


def prepare(workflow: Any) -> None:
    """Prepare all of it, once the rules are known. In a job's own Snakemake, leave word if SLURM began it anew.

    Raises:
        UserError: a rule wants more GPUs than there are.
    """
    put_own_python_first()
    note_restart()
    share_devices(workflow)


def put_own_python_first() -> None:
    """Begin PATH, which jobs inherit, with the folder of the project's own Python (`.venv`, by `make`).

    Where there is no `.venv`, it is the Python that runs Snakemake. On a cluster the two differ: Snakemake submits
    from a small environment of its own. A conda environment (`--sdm conda`) goes before either.
    """
    own = Path.cwd() / ".venv" / "bin"
    first = own if (own / "python").exists() else Path(sys.executable).parent
    os.environ["PATH"] = os.pathsep.join([str(first), *os.get_exec_path()])


def share_devices(workflow: Any) -> None:
    """Let no more jobs compute at a time than there are GPUs; refuse, before any work, a rule that wants more.

    For runs on this computer alone; in a cluster, the cluster assigns devices. Snakemake itself would run a rule that
    asks for too much with less. `--resources gpu=N` allows fewer than there are, 0 none. Without GPUs there is no
    limit, and a rule that wants one computes on the CPU.

    Raises:
        UserError: a rule wants more GPUs than there are, or than the user allows.
    """
    if not workflow.is_main_process:
        return
    os.environ.pop(SHARED, None)
    if workflow.resource_settings.nodes is not None:  # jobs are submitted to other computers
        return
    there, allowed = len(devices()), workflow.global_resources.get("gpu").value
    for rule in workflow.rules:
        wanted = rule.resources.get("gpu")
        if not wanted.is_evaluable() and isinstance(wanted.value, int):  # else `devices.claim` refuses
            refuse_too_many(rule.name, wanted.value, there, allowed)
    if allowed == 0:
        os.environ[VISIBLE] = ""
    elif there:
        workflow.register_resource("gpu", min(there, allowed or there))
    os.environ[SHARED] = os.environ.get("SLURM_JOB_ID", "")


def refuse_too_many(rule: str, wanted: int, there: int, allowed: int | None) -> None:
    """Refuse a rule that wants more GPUs than there are or are allowed; 1 is never too many.

    Raises:
        UserError: it wants more.
    """
    for most, reason in ((there, f"this machine has {there}"), (allowed, f"--resources gpu={allowed} allows no more")):
        if most is not None and wanted > max(most, 1):
            remedy = f"ask for {max(most, 1)} (--set-resources {rule}:gpu={max(most, 1)})"
            raise UserError(f"rule {rule} wants {wanted} GPUs, but {reason}; {remedy}")
