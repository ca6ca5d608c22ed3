"""One run at a time in a folder, also after a run was killed.

Snakemake's own lock is a file: after kill -9 it stays, and the next run stops until someone removes it. Here the kernel
holds the lock and lets go of it with the process. Jobs of a killed run may still be at work, and would write over the
files of the next run; they bear the mark that their run set in the environment, are found by it and stopped.
"""

import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil

from workflow_scripts.lib.errors import UserError

LOCK = Path(".snakemake/run.lock")
MARK = "REWARD_SUBSYSTEM_RUN"
HELD: list[IO[str]] = []  # closing the file would release the lock


def hold() -> None:
    """Take the folder for this process until it ends, and stop jobs that a killed run left behind.

    Raises:
        UserError: another run holds the folder.
    """
    LOCK.parent.mkdir(exist_ok=True)
    handle = LOCK.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{Path.cwd()}: another run is at work in this folder; wait for it or stop it") from error
    HELD.append(handle)
    mark = f"{os.getpid()}:{Path.cwd()}"
    if stopped := stop_orphans(str(Path.cwd()), mark):
        print(f"stopped {stopped} processes that a killed run had left behind", file=sys.stderr, flush=True)
    os.environ[MARK] = mark


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
