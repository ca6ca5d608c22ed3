"""GPUs for the jobs of one computer: which there are, and a job's own share of them.

Snakemake counts devices but hands none out: two jobs that hold one GPU each would both compute on the first. Here each
job locks the devices it computes on, in a folder that all runs of a user on a machine share. The kernel holds the locks
and lets go of them with the process, however it ends.
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
"""Set by a run whose jobs share one computer's devices (`job_surroundings`): the SLURM job that it is in, if any."""
LISTED = re.compile(r"^(?P<indent> *)(GPU (?P<number>\d+)|MIG .*?): (?P<name>.*?) *\(UUID: (?P<uuid>[\w-]+)\)")
EVERY = 1.0
"""Seconds between two looks at devices that others hold."""
CLAIMED: list[int] = []  # closing these files would release the locks


def devices() -> list[str]:
    """The devices that this process may use, as CUDA_VISIBLE_DEVICES names them; if it is not set, all that there are.

    As CUDA reads that variable: what follows a name that is none (-1) does not count. A slice of a GPU is a device.
    """
    if (given := os.environ.get(VISIBLE)) is None:
        return list(installed())
    found: list[str] = []
    for name in (part.strip() for part in given.split(",")):
        if not re.match(r"\d+$|GPU-|MIG-", name):
            break
        found.append(name)
    return list(dict.fromkeys(found))


def listed() -> list[re.Match[str]]:
    """What the driver lists: each GPU, after it the parts that it is divided into; nothing without a driver."""
    try:
        lines = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line for line in map(LISTED.match, lines.splitlines()) if line]


def gpus() -> tuple[str, ...]:
    """The names of the GPUs that are installed."""
    return tuple(line["name"] for line in listed() if line["number"] is not None)


def installed() -> dict[str, str]:
    """What is installed, by the names that CUDA_VISIBLE_DEVICES takes; the values tell a device from all others."""
    found: dict[str, str] = {}
    whole = None
    for line in listed():
        if line["number"] is not None:
            whole = line["number"]
            found[whole] = line["uuid"]
        else:  # a divided GPU cannot be used whole
            found.pop(str(whole), None)
            found[line["uuid"]] = line["uuid"]
    return found


def claim(count: int) -> None:
    """Keep `count` devices to this process until it ends; call it before CUDA starts, for CUDA shall see no others.

    Waits while others hold them. Without any device, 1 means the CPU. A process that has claimed keeps what it has.
    Outside a run, and where SLURM has assigned devices to the job, nothing is done.

    Raises:
        UserError: there are not as many.
    """
    if CLAIMED or SHARED not in os.environ or os.environ[SHARED] != os.environ.get("SLURM_JOB_ID", ""):
        return
    given, there = os.environ.get(VISIBLE), devices()
    if count == 0 or (count == 1 and not there):
        os.environ[VISIBLE] = ""
        return
    if count > len(there):
        raise UserError(f"{count} GPUs wanted, but this machine has {len(there)}; ask for fewer (--set-resources)")
    mine = wait_for(count, there)
    os.environ[VISIBLE] = ",".join(mine)
    if given is None:
        os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as nvidia-smi numbers them
    print(f"computes on GPU {os.environ[VISIBLE]}", file=sys.stderr, flush=True)


def wait_for(count: int, there: list[str]) -> list[str]:
    """Lock `count` of these devices, as soon as as many are free at once; say so once if that takes a while."""
    folder, alike, waited = lock_folder(), installed(), False
    while True:
        if mine := lock(count, {name: folder / alike.get(name, name) for name in there}, folder / "all"):
            return mine
        if not waited:
            print(f"waits for {count} of {len(there)} GPUs: other jobs hold them", file=sys.stderr, flush=True)
            waited = True
        time.sleep(EVERY)


def lock(count: int, files: dict[str, Path], door: Path) -> list[str]:
    """The first `count` devices that nobody holds, locked from now on; none at all if fewer are free.

    One process at a time looks (`door`), so that two cannot keep half of what each wants from the other.
    """
    with door.open("w") as entered:
        fcntl.flock(entered, fcntl.LOCK_EX)
        held: dict[str, int] = {}
        for name, path in files.items():
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            held[name] = handle
            if len(held) == count:
                CLAIMED.extend(held.values())
                return list(held)
        for handle in held.values():
            os.close(handle)
    return []


def lock_folder() -> Path:
    """Where this user's locks are, on this machine.

    Raises:
        UserError: somebody else has put something there.
    """
    folder = Path(tempfile.gettempdir()) / f"reward-subsystem-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise UserError(f"{folder}: belongs to somebody else; set TMPDIR to a folder of your own")
    return folder


def compute_device() -> "torch.device":
    """A GPU of this process's own where there is one, else the CPU."""
    claim(1)
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
