"""Every command that the README and the pages of `docs/` show, given to the real Makefile and the real Snakemake.

As it stands where it takes seconds; otherwise in the nearest form that runs nothing, with the reason beside it.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import GUIDES, blocks, text
from tests.workflow.study import ROOT, copy_project, environment, with_make, write_model

HOURS, NETWORK, CLUSTER = "takes hours", "installs from the network", "needs a cluster; its jobs are planned instead"
CONDA = "needs conda; the same jobs without it"
SHARD = "results/paragraphs/my-model/mine/0.parquet"
FORMS: dict[str, tuple[str, str]] = {
    "make run": ("make dry-run", HOURS),
    "make test": ("make --dry-run test", HOURS),
    "make run STUDY=studies/mine.yaml": ("make dry-run STUDY=studies/mine.yaml", HOURS),
    f"make run STUDY=studies/mine.yaml ARGS={SHARD}": (f"make dry-run STUDY=studies/mine.yaml ARGS={SHARD}", HOURS),
    "make run STUDY=studies/quick.yaml": ("make dry-run STUDY=studies/quick.yaml", HOURS),
    "make run ARGS='--resources gpu=1'": ("make dry-run ARGS='--resources gpu=1'", HOURS),
    "make run ARGS='--cores 4 --resources mem_mb=8000'": (
        "make dry-run ARGS='--cores 4 --resources mem_mb=8000'",
        HOURS,
    ),
    "make dry-run PROFILE=slurm STUDY=studies/paper.yaml": (
        "make --dry-run dry-run PROFILE=slurm STUDY=studies/paper.yaml",
        NETWORK,
    ),
    "make run PROFILE=slurm STUDY=studies/paper.yaml": (
        "make --dry-run run PROFILE=slurm STUDY=studies/paper.yaml",
        CLUSTER,
    ),
    "make vllm": ("make --dry-run vllm", NETWORK),
    "make docs": ("make --dry-run docs", NETWORK),
    "make slurm": ("make --dry-run slurm", NETWORK),
    ".venv/bin/snakemake --configfile studies/mine.yaml": (
        ".venv/bin/snakemake --dry-run --configfile studies/mine.yaml",
        HOURS,
    ),
    "snakemake --sdm conda --configfile studies/mine.yaml": (
        "snakemake --dry-run --configfile studies/mine.yaml",
        CONDA,
    ),
    ".venv/bin/snakemake train_reference_models": (".venv/bin/snakemake --dry-run train_reference_models", HOURS),
    # the run whose probes it names takes half an hour; tests/unit/test_score.py scores for real
    ".venv/bin/python -m workflow_scripts.score --run grpo/ledger --input questions.jsonl --output scores.jsonl": (
        ".venv/bin/python -m workflow_scripts.score --help",
        HOURS,
    ),
}
PATTERNS = {"make check STUDY=...", ".venv/bin/python -m pip install FILE", "squeue --me -o '%i %k %r'"}
"""Commands with a place to fill in, or of a cluster's own tools."""


def commands() -> list[str]:
    """Every command of the documents, of their blocks and of their sentences, without comments."""
    found = []
    for path in GUIDES:
        found += [re.sub(r"\s+#.*", "", line) for block in blocks(path, "bash") for line in block.splitlines()]
        inline = re.findall(r"`((?:make|snakemake|squeue|[.]venv/bin/\S+) [^`]+)`", text(path))
        found += [" ".join(line.split()) for line in inline]  # a line of prose may end inside a command
    return list(dict.fromkeys(line for line in found if line))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as a reader of the README has it, with the study that the README shows."""
    folder = with_make(copy_project(tmp_path_factory.mktemp("readme") / "project"))
    shutil.copytree(ROOT / "resources" / "models", folder / "resources" / "models")
    write_model(folder / "models" / "my-model")
    records = [{"id": str(i), "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(500)]
    (folder / "data").mkdir()
    (folder / "data" / "mine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "studies" / "mine.yaml").write_text(blocks(ROOT / "README.md", "yaml")[0])
    (folder / ".venv-slurm").mkdir()
    (folder / ".venv-slurm" / "bin").symlink_to(Path(sys.prefix) / "bin")
    return folder


@pytest.mark.parametrize("command", [command for command in commands() if command not in PATTERNS])
def test_a_command_that_is_shown_works(project: Path, command: str) -> None:
    shown, reason = FORMS.get(command, (command, ""))
    assert reason or shown == command
    surroundings = {**environment(), "PATH": f"{Path(sys.prefix) / 'bin'}:/usr/bin:/bin"}
    done = subprocess.run(
        ["bash", "-c", shown], cwd=project, env=surroundings, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, f"{shown}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    target = re.search(r"ARGS=(results/\S+)", command)
    assert target is None or "segment_paragraphs" in done.stdout  # the job that makes it is planned


def test_forms_belong_to_commands_that_are_shown() -> None:
    assert {*FORMS, *PATTERNS} <= set(commands())
    assert all(shlex.split(command) for command in commands())
