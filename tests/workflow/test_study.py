"""The whole workflow for real, on a study that takes a minute."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
import yaml
from PIL import Image
from polars.testing import assert_frame_equal

from tests.workflow.study import (
    N_PROBLEMS,
    N_VALUED,
    differences,
    environment,
    inject,
    make,
    make_study,
    records,
    rules,
    snakemake,
    timeless,
    with_make,
    write_certain_model,
)
from workflow_scripts.lib.storage.tensors import read_metadata


def table(folder: Path, name: str) -> list[dict[str, str]]:
    """Rows of a result table, from its csv file."""
    with (folder / "results" / "tables" / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_stage_leaves_its_records(finished: Path) -> None:
    results = finished / "results"
    rollouts = pl.concat(pl.read_parquet(results / f"rollouts/tiny/coins/{shard}.parquet") for shard in (0, 1))
    assert rollouts["problem_id"].to_list() == [f"p{number:03}" for number in range(N_PROBLEMS)]
    assert 0 < rollouts["reward"].sum() < N_PROBLEMS
    assert rollouts.filter(pl.col("truncated") & (pl.col("reward") == 1)).is_empty()
    values = pl.read_parquet(results / "values/tiny/coins.parquet")
    assert values["problem_id"].n_unique() == N_VALUED
    assert set(values.filter(pl.col("n") > 0)["n"]) == {4}
    assert values["kept"].sum() > 0
    metadata = read_metadata(results / "activations/tiny/coins/0.safetensors")
    assert (metadata["model"], metadata["dataset"], metadata["layers"]) == ("tiny", "coins", [0, 1, 2])
    for kind in ("value", "dopamine"):
        probes = read_metadata(results / f"probes/tiny/coins/{kind}.safetensors")["probes"]
        assert {probe["layer"] for probe in probes} == {0, 1, 2}
        assert {(probe["seed"], probe["labels"]) for probe in probes} == {(0, "true"), (1, "true"), (0, "shuffled")}


def test_tables_agree_with_the_records_behind_them(finished: Path) -> None:
    (row,) = table(finished, "rollouts")
    rewards = [pl.read_parquet(finished / f"results/rollouts/tiny/coins/{shard}.parquet")["reward"] for shard in (0, 1)]
    assert int(row["n"]) == N_PROBLEMS
    assert float(row["accuracy"]) == pytest.approx(pl.concat(rewards).mean())
    curves = table(finished, "pruning_value")
    assert {(row["layer"], row["position"]) for row in curves} == {(s, p) for s in "012" for p in ("initial", "final")}
    assert len(curves) == 3 * 2 * 15
    assert len(table(finished, "pruning_dopamine")) == 3 * 15
    for name in ("rollouts", "values", "pruning_value", "pruning_dopamine"):
        rows = pl.read_parquet(finished / "results" / "tables" / f"{name}.parquet")
        assert len(rows) == len(table(finished, name))


def test_figures_and_report_are_there_and_readable(finished: Path) -> None:
    for name in (*(f"fig{number}" for number in range(1, 12)), "dose", "reliability"):
        base = finished / "results" / "figures" / name
        assert base.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        assert "<svg" in base.with_suffix(".svg").read_text()
        with Image.open(base.with_suffix(".png")) as image:
            assert min(image.size) > 200
    page = (finished / "results" / "report.html").read_text()
    # no two runs to compare, hence neither figure 2 nor figure 8
    assert page.count("data:image/svg+xml;base64,") == 11
    assert 'src="http' not in page


def test_every_job_leaves_a_log_and_its_costs(finished: Path) -> None:
    logs = {
        path.relative_to(finished / "results/logs").with_suffix("") for path in finished.rglob("results/logs/**/*.log")
    }
    benchmarks = list(finished.rglob("results/benchmarks/**/*.jsonl"))
    assert {path.relative_to(finished / "results/benchmarks").with_suffix("") for path in benchmarks} == logs
    assert len(logs) == 51
    for path in benchmarks:
        assert json.loads(path.read_text().splitlines()[0])["s"] > 0
    progress = (finished / "results/logs/continue_paragraphs/tiny/coins/0.log").read_text()
    assert "remaining" in progress and "/s" in progress


def test_other_batch_and_shard_sizes_give_the_same_records(study: Path, finished: Path) -> None:
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["rollouts"]["batch_size"] = 7
    config["activations"]["batch_tokens"] = 100
    config["values"]["shard_size"] = 23
    config["datasets"]["coins"]["shard_size"] = 35
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    shutil.rmtree(study / "results")
    snakemake(study, "--cores", "2")
    before, after = records(finished), records(study)
    whole = [name for name in before if "/tables/" in name or name.startswith("results/values/")]
    assert len(whole) == 57
    for name in whole:
        if name.endswith(".parquet"):
            assert_frame_equal(timeless(before[name]), timeless(after[name]), abs_tol=0.02)
    for kind in ("rollouts", "continuations"):
        parts = [
            pl.concat(frame for name, frame in side.items() if name.startswith(f"results/{kind}/")).drop(
                "logprobs", strict=False
            )
            for side in (before, after)
        ]
        keys = [key for key in ("problem_id", "sample", "boundary", "continuation") if key in parts[0].columns]
        assert parts[0].sort(keys).equals(parts[1].sort(keys))


def test_make_run_says_that_nothing_is_to_be_done(study: Path) -> None:
    done = make(with_make(study), "run")
    assert done.returncode == 0, done.stderr
    assert "Nothing to be done" in done.stdout + done.stderr


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start a run that lacks its report, and return when it is about to write it; that job waits for a file `.go`."""
    (folder / "results" / "report.html").unlink()
    inject(folder, write_report="touch .begun; until [ -e .go ]; do sleep 0.1; done")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *arguments]
    run = subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.DEVNULL, start_new_session=True)
    end = time.time() + 300
    while not (folder / ".begun").exists():
        assert run.poll() is None and time.time() < end
        time.sleep(0.02)
    return run


def test_a_second_run_in_the_same_folder_is_refused_and_the_first_goes_on(finished: Path, study: Path) -> None:
    first = start(study)
    refused = snakemake(study, "--cores", "1", check=False)
    assert refused.returncode != 0
    assert "another run is active in this folder; wait for it or stop it" in refused.stderr
    (study / ".go").touch()
    assert first.wait(timeout=600) == 0
    assert differences(records(finished), records(study)) == []


def test_a_stale_lock_of_snakemake_itself_stops_nobody(finished: Path, study: Path) -> None:
    killed = start(study, "--workflow-profile", "none")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    assert list((study / ".snakemake" / "locks").iterdir())
    (study / ".go").touch()
    snakemake(study, "--cores", "1")
    assert differences(records(finished), records(study)) == []


def test_where_no_paragraph_passes_the_threshold_the_report_says_so(study: Path) -> None:
    config = yaml.safe_load((study / "config.yaml").read_text())
    config["values"]["min_abs_delta"] = 1.0
    (study / "config.yaml").write_text(yaml.safe_dump(config))
    assert rules(study)["sample_rollouts"] == rules(study)["continue_paragraphs"] == 0
    snakemake(study, "--cores", "2")
    (row,) = table(study, "values")
    assert float(row["share_kept"]) == 0
    curves = table(study, "pruning_dopamine")
    assert len(curves) == 3 * 15
    assert {row["spearman"] for row in curves} == {""}
    assert "no training paragraph passes the threshold" in (study / "results" / "report.html").read_text()


def test_where_all_answers_are_right_the_report_says_so(tmp_path: Path) -> None:
    folder = make_study(tmp_path / "study")
    write_certain_model(folder / "resources" / "models" / "tiny")
    problems = (folder / "data" / "coins.jsonl").read_text().replace('"answer": "2"', '"answer": "1"')
    (folder / "data" / "coins.jsonl").write_text(problems)
    snakemake(folder, "--cores", "2")
    (row,) = table(folder, "rollouts")
    assert float(row["accuracy"]) == 1
    curves = table(folder, "pruning_value")
    assert len(curves) == 3 * 2 * 15
    assert {row["auc"] for row in curves} == {""}
    assert all(row["reason"] for row in curves)
    assert curves[0]["reason"] in (folder / "results" / "report.html").read_text()
