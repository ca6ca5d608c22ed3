"""One run at a time in a folder, also after a run was killed.

Snakemake's own lock is a file: after kill -9 it stays, and the next run stops until someone removes it. Here the kernel
keeps the lock and releases it with the process. Jobs of a killed run may still run, and would overwrite the files of
the next run. Those on this machine are found by the mark that their run set in the environment, and stopped; those in
SLURM are found by their folder (`slurm_jobs`). The file names the process with the lock, because a lock is not always
visible on another machine; it is empty after an orderly end.
"""

import atexit
import fcntl
import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.runtime.job_errors import print_job_errors
from workflow_scripts.lib.runtime.slurm_jobs import cancel_orphans, know_cancelled_jobs, print_notices

LOCK = Path(".snakemake/run.lock")
MARK = "REWARD_SUBSYSTEM_RUN"
HELD: list[IO[str]] = []  # closing the file would release the lock


def acquire(slurm: bool = False) -> None:
    """Lock the folder for this process until it ends, and stop jobs that a killed run left behind.

    With `slurm`, jobs go to SLURM; then, and also after such a run was killed, SLURM is asked for jobs of this folder.

    Raises:
        UserError: another run has locked the folder, here or perhaps on another machine; SLURM does not answer.
    """
    LOCK.parent.mkdir(exist_ok=True)
    handle = LOCK.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{Path.cwd()}: another run is active in this folder; wait for it or stop it") from error
    handle.seek(0)
    clear_up(handle.read(), slurm)
    HELD.append(handle)
    if slurm:
        print_job_errors()
        know_cancelled_jobs()
    handle.truncate(0)
    print(socket.gethostname(), os.getpid(), "slurm" if slurm else "local", file=handle, flush=True)
    atexit.register(release)
    mark = f"{os.getpid()}:{Path.cwd()}"
    if stopped := stop_orphans(str(Path.cwd()), mark):
        print(f"stopped {stopped} processes that a killed run had left behind", file=sys.stderr, flush=True)
    os.environ[MARK] = mark


def clear_up(holder: str, slurm: bool) -> None:
    """Cancel the SLURM jobs of a killed run; `holder` is the lock file's text (host, process, where its jobs went).

    Raises:
        UserError: the holder was on another machine and may still run; SLURM does not answer or its jobs do not end.
    """
    host, process, where = (*holder.split(), "", "", "")[:3]
    if not (slurm or where == "slurm"):
        return
    if host and host != socket.gethostname():
        raise UserError(
            f"{LOCK}: a run that began on {host} (process {process}) may still be active here; stop it there or, "
            "if it has ended, delete this file, and run again"
        )
    if cancelled := cancel_orphans(Path.cwd()):
        print(f"cancelled {cancelled} SLURM jobs that a killed run had left behind", file=sys.stderr, flush=True)
    print_notices()


def release() -> None:
    """Empty the lock file at an orderly end."""
    print_notices()
    HELD[0].truncate(0)


def stop_orphans(folder: str, mark: str) -> int:
    """Kill the processes with the mark of another run in `folder`; return their number."""
    orphans = []
    for process in psutil.process_iter():
        try:
            other = process.environ().get(MARK, "")
        except (psutil.Error, OSError):  # gone, or somebody else's
            continue
        if other != mark and other.partition(":")[2] == folder:
            orphans.append(process)
    for process in orphans:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(orphans, timeout=10)
    return len(orphans)
