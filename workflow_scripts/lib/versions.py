"""Versions of Python and of the libraries that numbers depend on."""

import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib import metadata

LIBRARIES = [
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn", "polars", "pyarrow"),
    *("math-verify", "matplotlib", "jinja2", "snakemake"),
]


def versions(libraries: Iterable[str] = LIBRARIES) -> list[tuple[str, str]]:
    """Python and the libraries that the numbers depend on, as installed where this is called."""
    return [("Python", platform.python_version()), *((name, installed(name)) for name in libraries)]


def installed(name: str) -> str:
    """The version of a library, or of its build for CPUs, which has a name of its own in the case of vLLM."""
    for build in (name, f"{name}-cpu"):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(build)
    return "not installed here"
