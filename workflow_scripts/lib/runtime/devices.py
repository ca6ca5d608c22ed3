"""GPUs for the jobs of one computer: which exist, and which belong to a job.

Snakemake counts devices but assigns none: two jobs with one GPU each would both compute on the first. Here each job
locks the devices it computes on, in a folder that all runs of a user on a machine share. The kernel keeps the locks and
releases them with the process, however it ends.
"""

import fcntl
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from workflow_scripts.lib.errors import UserError

if TYPE_CHECKING:
    import torch

VISIBLE = "CUDA_VISIBLE_DEVICES"
SHARED = "REWARD_SUBSYSTEM_SHARES_DEVICES"
"""Set by a run with jobs that share one computer's devices (`job_environment`): the SLURM job that it is in, if any."""
LISTED = re.compile(r"^(?P<indent> *)(GPU (?P<number>\d+)|MIG .*?): (?P<name>.*?) *\(UUID: (?P<uuid>[\w-]+)\)")
EVERY = 1.0
"""Seconds between two attempts to lock devices that other jobs have locked."""
CLAIMED: list[int] = []  # closing these files would release the locks


def devices() -> list[str]:
    """List the devices that this process may use, as CUDA_VISIBLE_DEVICES names them; if it is not set, all devices.

    The variable is read as CUDA reads it: names after an invalid one (-1) do not count. A slice of a GPU is a device.
    """
    if (given := os.environ.get(VISIBLE)) is None:
        return list(installed())
    names: list[str] = []
    for name in (part.strip() for part in given.split(",")):
        if not re.match(r"\d+$|GPU-|MIG-", name):
            break
        names.append(name)
    return list(dict.fromkeys(names))


def listed() -> list[re.Match[str]]:
    """Read the driver's list: each GPU, followed by its slices if it is divided; empty without a driver."""
    try:
        lines = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line for line in map(LISTED.match, lines.splitlines()) if line]


def gpus() -> tuple[str, ...]:
    """Return the names of the installed GPUs."""
    return tuple(line["name"] for line in listed() if line["number"] is not None)


def installed() -> dict[str, str]:
    """Map the names of installed devices, as CUDA_VISIBLE_DEVICES takes them, to ids that are unique to each device."""
    uuids: dict[str, str] = {}
    whole = None
    for line in listed():
        if line["number"] is not None:
            whole = line["number"]
            uuids[whole] = line["uuid"]
        else:  # a divided GPU cannot be used whole
            uuids.pop(str(whole), None)
            uuids[line["uuid"]] = line["uuid"]
    return uuids


def claim(count: int) -> None:
    """Reserve `count` devices for this process until it ends; call it before CUDA starts, so that CUDA sees only these.

    Waits while other jobs have locked them. Without any device, 1 means the CPU. A second call changes nothing. Outside
    a run, and where SLURM has assigned devices to the job, nothing is done.

    Raises:
        UserError: there are fewer devices than `count`.
    """
    if CLAIMED or SHARED not in os.environ or os.environ[SHARED] != os.environ.get("SLURM_JOB_ID", ""):
        return
    given, available = os.environ.get(VISIBLE), devices()
    if count == 0 or (count == 1 and not available):
        os.environ[VISIBLE] = ""
        return
    if count > len(available):
        raise UserError(
            f"{count} GPUs requested, but this machine has {len(available)}; ask for fewer (--set-resources)"
        )
    os.environ[VISIBLE] = ",".join(wait_for(count, available))
    if given is None:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi numbers them
    print(f"computes on GPU {os.environ[VISIBLE]}", file=sys.stderr, flush=True)


def wait_for(count: int, names: list[str]) -> list[str]:
    """Lock `count` of these devices as soon as that number is free at once; print a line once if it has to wait."""
    folder, uuids, waited = lock_folder(), installed(), False
    while True:
        if locked := lock(count, {name: folder / uuids.get(name, name) for name in names}, folder / "all"):
            return locked
        if not waited:
            print(f"waits for {count} of {len(names)} GPUs: other jobs hold them", file=sys.stderr, flush=True)
            waited = True
        time.sleep(EVERY)


def lock(count: int, files: dict[str, Path], door: Path) -> list[str]:
    """Lock the first `count` free devices and return their names; lock none if fewer are free.

    The lock `door` admits one process at a time, so that two processes cannot each lock half of what the other needs.
    """
    with door.open("w") as entered:
        fcntl.flock(entered, fcntl.LOCK_EX)
        handles: dict[str, int] = {}
        for name, path in files.items():
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            handles[name] = handle
            if len(handles) == count:
                CLAIMED.extend(handles.values())
                return list(handles)
        for handle in handles.values():
            os.close(handle)
    return []


def lock_folder() -> Path:
    """Return the folder of this user's locks on this machine; make it if necessary.

    Raises:
        UserError: the path is a link or belongs to somebody else.
    """
    folder = Path(tempfile.gettempdir()) / f"reward-subsystem-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to somebody else; set TMPDIR to a folder of your own")
    return folder


def compute_device() -> "torch.device":
    """Reserve a GPU for this process and return it; the CPU if there is no GPU."""
    claim(1)
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
