"""Where jobs look for programs."""

import os
import sys
from pathlib import Path


def put_own_python_first() -> None:
    """Begin PATH, which jobs inherit, with the folder of the project's own Python (`.venv`, by `make`).

    Where there is no `.venv`, it is the Python that runs Snakemake. On a cluster the two differ: Snakemake submits
    from a small environment of its own. A conda environment (`--sdm conda`) goes before either.
    """
    own = Path.cwd() / ".venv" / "bin"
    first = own if (own / "python").exists() else Path(sys.executable).parent
    os.environ["PATH"] = os.pathsep.join([str(first), *os.get_exec_path()])
