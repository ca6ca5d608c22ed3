"""A large study's graph is built while one waits."""

import re
import time
from pathlib import Path

from tests.workflow.study import copy_project, snakemake


def test_a_dry_run_of_the_papers_study_takes_seconds(tmp_path: Path) -> None:
    """It takes some 4 s; the limit is that of the project, on a machine that may be busy."""
    folder = copy_project(tmp_path / "project")
    start = time.monotonic()
    done = snakemake(folder, "--dry-run", "--configfile", "config.yaml", "studies/paper.yaml", real=True)
    seconds = time.monotonic() - start
    (jobs,) = set(re.findall(r"^total +(\d+)$", done.stdout + done.stderr, flags=re.MULTILINE))  # said twice
    assert int(jobs) > 500 and seconds < 20, f"{jobs} jobs, {seconds:.1f} s"
