"""One cluster for the tests of a worker, and the study that the tests of the workflow share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster, missing_programs, running
from tests.slurm.runs import SUBMITTING, with_environments
from tests.workflow.conftest import finished as finished


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real SLURM of one node."""
    missing = missing_programs()
    if not (SUBMITTING / "bin" / "snakemake").exists():
        missing.append(f"{SUBMITTING} (make slurm)")
    if missing and not os.environ.get("REQUIRE_SLURM"):
        pytest.skip(f"not installed: {', '.join(missing)}")
    assert not missing
    with running(tmp_path_factory.mktemp("slurm")) as cluster:
        yield cluster


@pytest.fixture
def study(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished study that a test may run on the cluster."""
    return with_environments(shutil.copytree(finished, tmp_path / "study"))
