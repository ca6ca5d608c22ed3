"""The plan and the provenance page of the tiny study, beside what was really done."""

import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.workflow.study import environment, rules
from workflow_scripts.lib.plan.jobs import read_jobs
from workflow_scripts.lib.report.run_facts import sha256

COSTS = "results/provenance/costs.parquet"


def plan(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "workflow_scripts.plan_costs", "config.yaml", *arguments]
    secret = {**environment(), "HF_TOKEN": "hf_never_to_be_seen"}
    done = subprocess.run(command, cwd=folder, env=secret, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "hf_never" not in done.stdout + done.stderr
    return done.stdout


def test_the_plan_of_a_finished_study_is_what_was_done(study: Path) -> None:
    (study / "results/rollouts/tiny/coins/1.parquet").unlink()
    printed = plan(study, "--gpu", "here", "--output", "plan.parquet")
    left = rules(study)
    assert f"Still to do: {sum(left.values())} of 51 jobs" in printed
    rows = pl.read_parquet(study / "plan.parquet")
    assert dict(rows.group_by("rule").agg(pl.col("to_do").sum()).filter(pl.col("to_do") > 0).iter_rows()) == left
    spent = pl.read_parquet(study / COSTS).join(rows, on="rule")
    measured = spent.filter(pl.col("rule").is_in(["continue_paragraphs", "mask_neurons"]))
    assert len(measured) == 2
    for row in measured.to_dicts():  # lengths were measured on half of the responses
        assert row["generated_low"] == row["generated_high"] == pytest.approx(row["generated"], rel=0.25)
    assert rows["gpu_hours_high"].sum() == 0 < rows["cpu_hours_low"].sum()  # tests run without a GPU


def test_costs_are_those_of_the_files(finished: Path) -> None:
    costs = {row["rule"]: row for row in pl.read_parquet(finished / COSTS).to_dicts()}
    assert costs.keys() == {path.stem for path in (finished / "results/benchmarks").iterdir()} - {"write_provenance"}
    sampled = pl.read_parquet(finished / "results/samples/tiny/coins/*.parquet")
    row = costs["sample_rollouts"]
    assert (row["planned_jobs"], row["recorded"], row["stage"]) == (2, 2, "rollouts")
    assert row["generated"] == sampled["response_ids"].list.len().sum()
    assert row["read"] == sampled["prompt_ids"].list.len().sum()
    assert 0 < row["median_seconds"] <= row["max_seconds"] <= row["seconds"]
    drawn = pl.read_parquet(finished / "results/continuations/tiny/coins/*.parquet")
    assert costs["continue_paragraphs"]["generated"] == drawn["response_ids"].list.len().sum()
    masked = [path for path in (finished / "results/masked").rglob("*.parquet") if "proofs" not in path.name]
    lengths = pl.concat(pl.read_parquet(path) for path in masked)["response_ids"].list.len()
    assert costs["mask_neurons"]["generated"] == lengths.sum() and costs["mask_neurons"]["read"] > 0
    assert costs["dump_activations"]["disk"] == sum(
        (finished / f"results/activations/tiny/coins/{shard}.safetensors").stat().st_size for shard in (0, 1)
    )
    assert all(row["recorded"] == row["planned_jobs"] for row in costs.values())


def test_the_page_names_what_the_results_come_from(finished: Path) -> None:
    page = (finished / "results/provenance.html").read_text()
    assert re.search(r"<td[^>]*>tiny</td>", page) and re.search(r"<code>[0-9a-f]{64}</code>", page)
    for path in ("tables/claims.parquet", "probes/tiny/coins/value.safetensors", "report.html"):
        assert f"results/{path}" in page and sha256(finished / "results" / path) in page, path
    for text in ("torch", "snakemake", "not in a checkout", "rollouts.seed", "max_tokens: 24", "continue_paragraphs"):
        assert text in page, text
    assert str(finished) not in page and "None" not in page
    assert 'href="provenance.html"' in (finished / "results/report.html").read_text()


def test_a_dry_run_s_words_are_read_in_full(finished: Path) -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--quiet", "host"],
        cwd=finished,
        env=environment(),
        capture_output=True,
        text=True,
    ).stdout
    jobs = read_jobs(printed)
    assert len(jobs) == 51 and {job.run[0] for job in jobs} == {"", "tiny"}
    assert all((finished / job.benchmark).is_file() and job.outputs[0] for job in jobs)
    assert all((finished / output).is_file() for job in jobs for output in job.outputs)
