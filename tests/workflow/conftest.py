"""One finished tiny study, shared by all tests of this folder, whichever worker they run in."""

import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.workflow.study import make_study, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of the tiny study, run to its end in real processes; tests look at it and never change it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "finished"
    done = folder.with_suffix(".done")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            printed = snakemake(make_study(folder), "--cores", "2", real=True)
            done.write_text(printed.stdout + printed.stderr)
    return folder


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study that a test may change."""
    return shutil.copytree(finished, tmp_path / "study")
