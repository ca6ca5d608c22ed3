"""A study of one's own names its runs once, lies beside the default study, and runs to its report."""

import re
from pathlib import Path

import polars as pl
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
SMALL = """
study: mine
rollouts: { max_tokens: 24 } # the model reads 256 tokens in all
values: { n_problems: 48, n_continuations: 4 }
activations: { dtype: float32 }
value_probes: { epochs: 2, hidden: 8, seeds: [0], learning_rate: 0.01 }
dopamine_probes: { epochs: 2, hidden: 8, seeds: [0], learning_rate: 0.01 }
ntp_probes: { epochs: 1, hidden: 8 }
interventions: { n_problems: 48, draws: 1 }
confidence: { folds: 2, verbal_tries: 1, verbal_tokens: 4 }
search: { seeds: [0], n_problems: 10, candidates: 2 }
pruning: { random_draws: 2, bootstrap: 20 }
"""
LEFT_OUT = "implicit_prm (search.reference names no model)"


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


def test_a_study_runs_to_a_report_beside_that_of_the_default_study(project: Path) -> None:
    (project / "studies" / "small.yaml").write_text(SMALL)
    done = make(project, "run", "STUDY=studies/mine.yaml studies/small.yaml", "ARGS=--cores 2")
    assert done.returncode == 0, done.stdout + done.stderr
    own = project / "results" / "studies" / "mine"
    assert done.stdout.splitlines()[-1] == "The report is results/studies/mine/report.html"
    assert LEFT_OUT in (own / "report.html").read_text()
    assert not [
        name for name in ("report.html", "tables", "figures", "provenance") if (project / "results" / name).exists()
    ]
    assert (own / "neurons" / "tiny.parquet").exists() and (own / "logs" / "write_report.log").exists()
    assert pl.read_parquet(own / "tables" / "table4.parquet")["method"].n_unique() == 5
    named = re.findall(r"results/\S+", (own / "provenance.html").read_text())
    assert any(name.startswith("results/studies/mine/tables/") for name in named)
    files = ("config.yaml", "studies/mine.yaml", "studies/small.yaml")
    assert rules(project, "--configfile", *files) == {}


def test_a_second_study_shares_records_and_overwrites_no_page_of_the_first(study: Path) -> None:
    (study / "second.yaml").write_text("study: second\npruning: { confidence: 0.9 }\n")
    made = (
        "report.html",
        "provenance.html",
        "tables",
        "figures",
        "provenance",
        "neurons/tiny.parquet",
        "logs",
        "benchmarks",
    )
    before = {name: (study / "results" / name).stat().st_mtime_ns for name in made}
    page = (study / "results" / "report.html").read_bytes()
    done = make(with_make(study), "run", "STUDY=second.yaml", "ARGS=--cores 2")
    assert done.returncode == 0, done.stdout + done.stderr
    own = study / "results" / "studies" / "second"
    assert sorted(path.name for path in own.iterdir()) == sorted({name.split("/")[0] for name in made})
    assert done.stdout.splitlines()[-1] == "The report is results/studies/second/report.html"
    # what `pruning.confidence` reruns among records is the curves of pruning
    assert {
        name: (study / "results" / name).stat().st_mtime_ns for name in made if name not in ("logs", "benchmarks")
    } == {name: time for name, time in before.items() if name not in ("logs", "benchmarks")}
    assert (study / "results" / "report.html").read_bytes() == page and (own / "report.html").read_bytes() != page
    assert rules(study, "--configfile", "second.yaml") == {}
    assert rules(study)["evaluate_value_pruning"] == 1  # of one setting at a time
    assert rules(study)["train_value_probes"] == rules(study)["sample_rollouts"] == 0
