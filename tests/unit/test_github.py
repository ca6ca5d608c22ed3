"""The GitHub workflow runs what there is to run."""

import os
import re

import yaml

from tests.documents import ROOT

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8"))


def test_every_step_runs_a_target_or_a_file_of_the_project() -> None:
    steps = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = {line.removeprefix("make ") for line in lines if line.startswith("make ")}
    assert {"lint", "docs"} <= named <= targets
    others = {line.split()[0] for line in lines if not line.startswith("make ")}
    assert others == {".ci/run", "python", ".venv/bin/python"} and os.access(ROOT / ".ci" / "run", os.X_OK)


def test_every_job_ends_and_no_job_may_write() -> None:
    assert all(job["timeout-minutes"] <= 180 for job in WORKFLOW["jobs"].values())
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert {"push", "pull_request"} == set(WORKFLOW[True])  # `on`, which YAML 1.1 reads as true
