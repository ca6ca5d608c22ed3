"""Versions of Python and of the libraries that numbers depend on."""

import platform
from collections.abc import Iterable
from importlib import metadata

LIBRARIES = [
    *("torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "scikit-learn", "polars", "pyarrow"),
    *("math-verify", "matplotlib", "jinja2", "snakemake"),
]


def versions(libraries: Iterable[str] = LIBRARIES) -> list[tuple[str, str]]:
    """Python and the libraries that the numbers depend on, as installed where this is called."""
    found = [("Python", platform.python_version())]
    for name in libraries:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append((name, "not installed here"))
    return found
