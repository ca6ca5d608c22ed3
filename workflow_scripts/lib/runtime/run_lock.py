"""One run at a time in a folder, also after a run was killed.

Snakemake's own lock is a file: after kill -9 it stays, and the next run stops until someone removes it. Here the kernel
holds the lock and lets go of it with the process. Jobs of a killed run may still be at work, and would write over the
files of the next run. Those on this machine bear the mark that their run set in the environment, are found by it and
stopped; those in SLURM are found by their folder (`slurm_jobs`). The file says who holds it, because a lock does not
always reach another machine; it is empty after an orderly end.
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
    """Take the folder for this process until it ends, and stop jobs that a killed run left behind.

    With `slurm`, jobs go to SLURM, which is then asked for jobs of this folder, as it is after such a run was killed.

    Raises:
        UserError: another run holds the folder, here or perhaps on another machine; SLURM does not answer.
    """
    LOCK.parent.mkdir(exist_ok=True)
    handle = LOCK.open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{Path.cwd()}: another run is at work in this folder; wait for it or stop it") from error
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
    """Cancel the SLURM jobs of a killed run; `holder` is what the lock file said (host, process, where its jobs went).

    Raises:
        UserError: the holder was on another machine and may live; SLURM does not answer or its jobs do not end.
    """
    host, process, where = (*holder.split(), "", "", "")[:3]
    if not (slurm or where == "slurm"):
        return
    if host and host != socket.gethostname():
        raise UserError(
            f"{LOCK}: a run that began on {host} (process {process}) may still be at work here; stop it there, or, "
            "if it is no more, delete this file, and run again"
        )
    if cancelled := cancel_orphans(Path.cwd()):
        print(f"cancelled {cancelled} SLURM jobs that a killed run had left behind", file=sys.stderr, flush=True)
    print_notices()


def release() -> None:
    """At an orderly end: nobody holds the folder."""
    print_notices()
    HELD[0].truncate(0)


def stop_orphans(folder: str, mark: str) -> int:
    """Kill the processes that bear the mark of another run in `folder`; return how many they were."""
    orphans = []
    for process in psutil.process_iter():
        try:
            found = process.environ().get(MARK, "")
        except (psutil.Error, OSError):  # gone, or somebody else's
            continue
        if found != mark and found.partition(":")[2] == folder:
            orphans.append(process)
    for process in orphans:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(orphans, timeout=10)
    return len(orphans)
