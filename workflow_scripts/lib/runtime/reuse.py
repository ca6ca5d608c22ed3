"""Reuse outputs of an earlier run of a job where making them again would give the same bytes.

Snakemake removes the output of a job before it runs it again. A job that makes several things into one file (the layers
of a shard, the probes of a run, the conditions of masked generation), or one thing out of a part of a file (a search),
therefore gives the file a second name, a hard link that takes no room, and looks there first. Each thing carries its
origin, a hash of all that it was made from: code, versions, settings, data. What has the wanted origin is taken over; a
file that is missing, damaged, older or of something else gives nothing. So a result never depends on what was there
before, only the time it takes does.

(Snakemake's own `update()` leaves the old output in place, but a job that then fails counts as done with it.)
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import chdir, suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch

from workflow_scripts.lib.runtime.dependencies import modules
from workflow_scripts.lib.runtime.devices import devices, gpus
from workflow_scripts.lib.runtime.machine import versions
from workflow_scripts.lib.storage.files import atomic_path, sha256

PROJECT = Path(__file__).parents[3]
T = TypeVar("T")


def digest(*parts: Any) -> str:
    """SHA-256 of tensors and arrays (kind, shape and bytes) and of whatever else JSON can write."""
    found = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor | np.ndarray):
            tensor = torch.as_tensor(part).contiguous()
            found.update(f"{tensor.dtype} {list(tensor.shape)}\n".encode())
            if tensor.numel():
                found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        else:
            found.update(f"{json.dumps(part, sort_keys=True)}\n".encode())
    return found.hexdigest()


def environment(rule: str, *libraries: str) -> str:
    """A hash of the rule's code, of the libraries as installed, and of the devices that compute."""
    with chdir(PROJECT):
        code = [(path, sha256(path)) for path in modules(rule)]
    # Asked of the driver: in the process that starts vLLM, CUDA must not have begun.
    device = sorted(set(gpus())) if devices() else []
    return digest(code, versions(("torch", "numpy", *libraries)), device)


def kept_path(path: Path) -> Path:
    """The second name of an output, such as `value.safetensors.kept`: no pattern for results takes it for one."""
    return path.with_name(f"{path.name}.kept")


def keep(path: Path) -> None:
    """Give a finished output its second name. Where the file system has no hard links, the next run makes all anew."""
    with suppress(OSError), atomic_path(kept_path(path)) as temporary:
        os.link(path, temporary)


def earlier(path: Path, read: Callable[[Path], T], nothing: T) -> T:
    """What `read` finds in the kept output; `nothing` if there is none, or it cannot be read, whatever the reason."""
    try:
        return read(kept_path(path)) if kept_path(path).is_file() else nothing
    except Exception:  # a damaged or foreign file costs time, and must cost nothing else
        return nothing


class Reuse(Generic[T]):
    """The things in the outputs of an earlier run, by their origins, and a count of those that were used.

    `read(*kept outputs)` gives origin -> thing. A job asks for each thing that it wants (`get`), makes what is not
    there, writes its outputs, and keeps them (`keep`).
    """

    def __init__(self, outputs: Sequence[Path], read: Callable[..., Mapping[str, T]]) -> None:
        self.outputs = outputs
        nothing: Mapping[str, T] = {}
        self.stored = earlier(outputs[0], lambda _: read(*map(kept_path, outputs)), nothing)
        self.kept = self.made = 0

    def get(self, origin: str) -> T | None:
        """The thing of this origin; None if it has to be made."""
        found = self.stored.get(origin)
        self.kept, self.made = self.kept + (found is not None), self.made + (found is None)
        return found

    def report(self, things: str) -> None:
        """Print how many of the things that were asked for an earlier run has left."""
        total = self.kept + self.made
        line = f"{self.outputs[0].name}: kept {self.kept} of {total} {things}, {self.made} new"
        print(line, file=sys.stderr, flush=True)

    def keep(self) -> None:
        """Keep the written outputs for a later run."""
        for output in self.outputs:
            keep(output)
