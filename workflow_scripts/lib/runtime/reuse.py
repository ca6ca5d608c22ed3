"""Reuse outputs of an earlier run when recomputing would give the same bytes.

Snakemake removes the output of a job before it runs it again. A job that makes several things into one file (the layers
of a shard, the probes of a run, the conditions of masked generation), or one thing out of a part of a file (a search),
therefore gives the file a second name, a hard link that takes no disk space, and looks there first. Each thing has an
origin, a hash of all that it was made from: code, versions, settings, data. A thing with the required origin is reused;
a file that is missing, damaged, older or of something else gives nothing. So a result never depends on earlier files;
only the time it takes does.

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

from workflow_scripts.lib.runtime.dependencies import Used, catalogues_of, modules, used_code
from workflow_scripts.lib.runtime.devices import devices, gpus
from workflow_scripts.lib.runtime.machine import versions
from workflow_scripts.lib.storage.files import atomic_path, sha256

PROJECT = Path(__file__).parents[3]
T = TypeVar("T")


def digest(*parts: Any) -> str:
    """Return the SHA-256 of tensors and arrays (kind, shape and bytes) and of anything else that JSON can write."""
    result = hashlib.sha256()
    for part in parts:
        if isinstance(part, torch.Tensor | np.ndarray):
            tensor = torch.as_tensor(part).contiguous()
            result.update(f"{tensor.dtype} {list(tensor.shape)}\n".encode())
            if tensor.numel():
                result.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
        else:
            result.update(f"{json.dumps(part, sort_keys=True)}\n".encode())
    return result.hexdigest()


def environment(rule: str, *libraries: str, used: Used = ()) -> str:
    """Return a hash of the rule's code, of the installed libraries, and of the devices that compute.

    `used`: rows of catalogues, as in `dependencies.modules`.
    """
    with chdir(PROJECT):
        code = [(path, sha256(path)) for path in modules(rule, used)]
        code += [(name, used_code(name, used)) for name in catalogues_of(rule)]
    # The driver is asked, because CUDA must not have started in the process that starts vLLM.
    device = sorted(set(gpus())) if devices() else []
    return digest(code, versions(("torch", "numpy", *libraries)), device)


def kept_path(path: Path) -> Path:
    """Return the second name of an output, such as `value.safetensors.kept`, which no pattern for results matches."""
    return path.with_name(f"{path.name}.kept")


def keep(path: Path) -> None:
    """Give a finished output its second name. Without hard links in the file system, the next run reuses nothing."""
    with suppress(OSError), atomic_path(kept_path(path)) as temporary:
        os.link(path, temporary)


def earlier(path: Path, read: Callable[[Path], T], nothing: T) -> T:
    """Return what `read` reads from the kept output; `nothing` if it is missing or unreadable for any reason."""
    try:
        return read(kept_path(path)) if kept_path(path).is_file() else nothing
    except Exception:  # a damaged or foreign file costs time, and must cost nothing else
        return nothing


class Reuse(Generic[T]):
    """The things in the outputs of an earlier run, by their origins, and a count of those that were used.

    `read(*kept outputs)` gives origin -> thing. A job asks for each thing that it needs (`get`), makes those that are
    missing, writes its outputs, and keeps them (`keep`).
    """

    def __init__(self, outputs: Sequence[Path], read: Callable[..., Mapping[str, T]]) -> None:
        self.outputs = outputs
        nothing: Mapping[str, T] = {}
        self.stored = earlier(outputs[0], lambda _: read(*map(kept_path, outputs)), nothing)
        self.kept = self.made = 0

    def get(self, origin: str) -> T | None:
        """Return the thing of this origin; None if it has to be made."""
        thing = self.stored.get(origin)
        self.kept, self.made = self.kept + (thing is not None), self.made + (thing is None)
        return thing

    def report(self, things: str) -> None:
        """Print how many of the requested things came from an earlier run."""
        total = self.kept + self.made
        line = f"{self.outputs[0].name}: kept {self.kept} of {total} {things}, {self.made} new"
        print(line, file=sys.stderr, flush=True)

    def keep(self) -> None:
        """Keep the written outputs for a later run."""
        for output in self.outputs:
            keep(output)
