"""The machine that a run uses (processor, memory, GPUs) and the versions of its libraries.

Nothing names the machine's owner or its location.
"""

import os
import platform
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

from workflow_scripts.lib.runtime.devices import gpus


@dataclass(frozen=True)
class Machine:
    """Processor model, cores, bytes of memory, names of the GPUs."""

    processor: str
    cores: int
    memory: int
    gpus: tuple[str, ...]


def machine() -> Machine:
    """Describe this machine."""
    return Machine(processor(), os.cpu_count() or 1, psutil.virtual_memory().total, gpus())


def processor(info: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's model, as the system names it."""
    try:
        named = re.search(r"^model name\s*: (.+)$", info.read_text(), flags=re.MULTILINE)
    except OSError:
        named = None
    return named.group(1).strip() if named else platform.processor() or platform.machine()


def device_key(names: tuple[str, ...], known: list[str]) -> str:
    """Return which of the `known` devices the first GPU is; `cpu` without a GPU, or with an unknown one."""
    words = re.findall(r"\w+", names[0].lower()) if names else []
    return next((key for key in known if key in words), "cpu")


LIBRARIES = [
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn", "polars", "pyarrow"),
    *("math-verify", "matplotlib", "jinja2", "snakemake"),
]


def versions(libraries: Iterable[str] = LIBRARIES) -> list[tuple[str, str]]:
    """Return the installed versions of Python and of the libraries that the numbers depend on."""
    return [("Python", platform.python_version()), *((name, installed(name)) for name in libraries)]


def installed(name: str) -> str:
    """Return the installed version of a library, or of its build for CPUs, which has its own name for vLLM."""
    for build in (name, f"{name}-cpu"):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(build)
    return "not installed here"
