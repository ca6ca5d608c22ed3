"""The servers of one test process: for Snakemake, and for jobs of one and of two threads."""

import atexit
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

SNAKEMAKE = ["snakemake.cli", "jsonschema", "psutil"]
"""What Snakemake and the Snakefile import."""
JOBS = ["polars", "pyarrow.parquet", "scipy.stats", "sklearn.pipeline", "sklearn.isotonic", "sklearn.linear_model"]
JOBS += ["matplotlib.pyplot", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg", "jinja2"]
JOBS += ["jaxtyping", "jsonschema", "xxhash"]
JOBS += ["torch", "safetensors.torch", "transformers.models.auto.modeling_auto"]
JOBS += ["transformers.models.auto.tokenization_auto", "transformers.models.qwen2.modeling_qwen2"]
"""What jobs import. None of it computes in threads of its own before it is asked to, which a fork would miss."""
THREADS = [f"{library}_NUM_THREADS" for library in ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR", "RAYON")]
THREADS += ["VECLIB_MAXIMUM_THREADS", "POLARS_MAX_THREADS"]
"""What Snakemake and the shell of a job set to the job's number of threads."""
HERE = Path(__file__).parent
CLIENT = [sys.executable, "-I", "-S", str(HERE / "client.py")]
"""A Python without what it does not need."""
RUNNING: list["subprocess.Popen[bytes]"] = []
"""Their inputs are open as long as this process lives, which is how long they do."""


def start(environment: dict[str, str]) -> Path:
    """Start the servers with an environment, and return the folder of their sockets."""
    folder = Path(tempfile.mkdtemp(prefix="forks"))
    atexit.register(shutil.rmtree, folder)
    serve(folder / "snakemake", SNAKEMAKE, environment)
    for count in ("1", "2"):
        serve(folder / f"jobs-{count}", JOBS, environment | dict.fromkeys(THREADS, count))
    return folder


def serve(path: Path, modules: list[str], environment: dict[str, str]) -> None:
    """Start a server; clients wait until it has imported the modules."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen(64)
        number = listener.fileno()
        command = [sys.executable, str(HERE / "server.py"), str(number), *modules]
        server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, pass_fds=[number]
        )
        RUNNING.append(server)
