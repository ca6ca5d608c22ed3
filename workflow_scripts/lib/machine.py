"""The machine that a run is at work on: processor, memory, GPUs. Nothing that names its owner or its place."""

import os
import platform
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

from workflow_scripts.lib.devices import gpus


@dataclass(frozen=True)
class Machine:
    """Processor model, cores, bytes of memory, names of the GPUs."""

    processor: str
    cores: int
    memory: int
    gpus: tuple[str, ...]


def machine() -> Machine:
    """This machine."""
    return Machine(processor(), os.cpu_count() or 1, psutil.virtual_memory().total, gpus())


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's model, as the system names it."""
    try:
        named = re.search(r"^model name\s*: (.+)$", info.read_text(), flags=re.MULTILINE)
    except OSError:
        named = None
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def device_key(names: tuple[str, ...], known: list[str]) -> str:
    """The described device that the first GPU is; `cpu` without a GPU, or with one that nobody described."""
    words = re.findall(r"\w+", names[0].lower()) if names else []
    return next((key for key in known if key in words), "cpu")
