"""A study of one's own names its runs once, and lies beside the default study (`test_newcomers` runs one)."""

from pathlib import Path

import pytest

from tests.workflow.study import (
    N_PROBLEMS,
    copy_project,
    jobs,
    make,
    rules,
    with_make,
    write_model,
    write_problems,
)

LEAST = """
models: { tiny: { path: resources/models/tiny } }
datasets: { coins: { source: file, path: data/coins.jsonl, n_problems: 96, answer: boxed_integer, shard_size: 48 } }
rollouts: { runs: [tiny/coins] }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with its own config.yaml, whose models are not there, and a study of the tiny model."""
    folder = with_make(copy_project(tmp_path / "project"))
    write_model(folder / "resources" / "models" / "tiny")
    write_problems(folder / "data" / "coins.jsonl", N_PROBLEMS)
    (folder / "studies" / "mine.yaml").write_text(LEAST)
    return folder


def test_models_data_sets_and_runs_are_a_study(project: Path) -> None:
    """The same jobs through `make`, and through Snakemake with config.yaml before it or left to be found."""
    checked = make(project, "check", "STUDY=studies/mine.yaml")
    assert checked.stdout == "config.yaml + studies/mine.yaml: in order\n", checked.stderr
    planned = jobs(project, "--configfile", "config.yaml", "studies/mine.yaml")
    assert planned == jobs(project, "--configfile", "studies/mine.yaml")
    assert {word for job in planned for word in job.split() if word.startswith(("model=", "dataset="))} == {
        "model=tiny",
        "dataset=coins",
    }
    assert {job.split()[0] for job in planned} >= {
        "guide_search",
        "mask_neurons",
        "trace_neurons",
        "predict_confidence",
    }
    dry = make(project, "dry-run", "STUDY=studies/mine.yaml", "ARGS=--quiet host")
    assert dry.stdout.count("\nrule ") == sum(planned.values()) + 1, dry.stderr  # and `all`


def test_a_second_study_shares_records_and_overwrites_no_page_of_the_first(study: Path) -> None:
    (study / "second.yaml").write_text("study: second\npruning: { confidence: 0.9 }\n")
    pages = ["report.html", "provenance.html", "tables", "figures", "provenance", "neurons/tiny.parquet"]
    pages.append("scores/masks.parquet")

    def written() -> list[int]:
        """When each of the first study's pages was written last."""
        return [(study / "results" / name).stat().st_mtime_ns for name in pages]

    before = written()
    page = (study / "results" / "report.html").read_bytes()
    done = make(with_make(study), "run", "STUDY=second.yaml", "ARGS=--cores 2")
    assert done.returncode == 0, done.stdout + done.stderr
    own = study / "results" / "studies" / "second"
    assert {path.name for path in own.iterdir()} == {*(name.split("/")[0] for name in pages), "logs", "benchmarks"}
    assert done.stdout.splitlines()[-1] == "The report is results/studies/second/report.html"
    assert written() == before
    assert (study / "results" / "report.html").read_bytes() == page and (own / "report.html").read_bytes() != page
    assert rules(study, "--configfile", "second.yaml") == {}
    assert rules(study)["evaluate_value_pruning"] == 1  # of one setting at a time
    assert rules(study)["score_value_probes"] == rules(study)["sample_rollouts"] == 0
