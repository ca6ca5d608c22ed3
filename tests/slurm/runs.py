"""Workflows that submit to the tests' cluster through the profile that users get."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.slurm.cluster import Cluster
from tests.workflow.study import ROOT, environment

SUBMITTING = ROOT / ".venv-slurm"
# Polls follow each other quickly, because jobs here last seconds.
OPTIONS = [
    "--slurm-init-seconds-before-status-checks=1",
    "--max-status-checks-per-second=1",
    "--max-jobs-per-timespan=100/1s",
    "--latency-wait=5",
]


def command(*arguments: str) -> list[str]:
    """The command of `make run PROFILE=slurm`, with what differs for the tests."""
    snakemake = str(SUBMITTING / "bin" / "snakemake")
    return [snakemake, "--workflow-profile", "profiles/slurm", *OPTIONS, *arguments]


def settings(cluster: Cluster) -> dict[str, str]:
    """The environment of such a run."""
    return {**environment(), **cluster.environment}


def submit(cluster: Cluster, folder: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the study in `folder` on the cluster."""
    full = command(*arguments)
    done = subprocess.run(full, cwd=folder, env=settings(cluster), capture_output=True, text=True, timeout=1800)
    assert not check or done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def with_environments(folder: Path) -> Path:
    """Give a study what `make` gives a user's: `.venv`, here that of the tests, and `.venv-slurm`."""
    for name, prefix, lock in ((".venv", Path(sys.prefix), "run.txt"), (".venv-slurm", SUBMITTING, "slurm.txt")):
        (folder / name).mkdir()
        for part in ("bin", "lib", "pyvenv.cfg"):
            (folder / name / part).symlink_to(prefix / part)
        shutil.copy(folder / "envs" / lock, folder / name / lock)
    return folder
