"""What a change reruns, by dry run on the finished study: exactly what it touches, and everything below that."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.study import dataset, jobs, rules, snakemake, write_model, write_problems

CLAIMS = {"judge_claims": 1, "write_report": 1}
END = {"tabulate_results": 1, "plot_pruning": 1, **CLAIMS}
TRANSFER = {"list_neurons": 1, "compare_neurons": 1, "plot_transfer": 1, **CLAIMS}
CONFIDENCE_END = {"tabulate_confidence": 1, "plot_reliability": 1, **CLAIMS}
CONFIDENCE = {"predict_confidence": 1, **CONFIDENCE_END}
SEARCH = {"guide_search": 1, "tabulate_search": 1, **CLAIMS}
FROM_CAUSAL_PROBES = {"train_causal_probes": 1, **SEARCH}
CAUSAL = {"average_causal_paragraphs": 1, **FROM_CAUSAL_PROBES}
TRAJECTORY_END = {"tabulate_trajectories": 1, "plot_trajectories": 1, **CLAIMS}
ABLATED = {"ablate_value_neurons": 1, **TRAJECTORY_END}
TRACED = {"trace_neurons": 1, **ABLATED}
FROM_DOPAMINE_PROBES = {"train_dopamine_probes": 1, "evaluate_dopamine_pruning": 1, **TRANSFER, **TRACED, **END}
DOPAMINE = {"average_paragraphs": 1, **FROM_DOPAMINE_PROBES}
FROM_VALUES = {**DOPAMINE, **CAUSAL}
FROM_CONTINUATIONS = {"continue_paragraphs": 2, "estimate_values": 1, **FROM_VALUES}
FROM_PARAGRAPHS = {"segment_paragraphs": 2, **FROM_CONTINUATIONS}
MASKED_END = {"tabulate_interventions": 1, "plot_dose": 1, **CLAIMS}
FROM_CONDITIONS = {"mask_neurons": 2, **MASKED_END}
FROM_NEURONS = {"select_neurons": 1, **FROM_CONDITIONS}
FROM_VALUE_PROBES = {"train_value_probes": 1, "evaluate_value_pruning": 1, **END, **FROM_NEURONS} | {
    **TRANSFER,
    **CONFIDENCE,
    **SEARCH,
    **ABLATED,
}
FROM_PROBE_SETTINGS = {"train_final_probes": 1, **FROM_VALUE_PROBES}
FROM_ACTIVATIONS = {"dump_activations": 2, "train_ntp_probes": 1, **FROM_PROBE_SETTINGS, **FROM_VALUES}
FROM_ROLLOUTS = {"grade_rollouts": 2, "measure_neurons": 1, "ask_confidence": 2, **FROM_PARAGRAPHS, **FROM_ACTIVATIONS}
FROM_SAMPLES = {"sample_rollouts": 2, **FROM_ROLLOUTS}
WITHOUT_DATA_SET = TRANSFER | CONFIDENCE_END | TRAJECTORY_END | END | MASKED_END | {"tabulate_search": 1}


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the study's configuration."""
    config = yaml.safe_load((folder / "config.yaml").read_text())
    change(config)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def append(path: Path, text: str) -> None:
    """Add a line to a file."""
    path.write_text(path.read_text() + text + "\n")


def test_after_a_run_nothing_is_to_be_done(finished: Path) -> None:
    assert rules(finished) == {}
    assert "Nothing to be done" in snakemake(finished, "--dry-run").stdout


def test_touched_sources_data_and_models_rerun_nothing(study: Path) -> None:
    for name in (
        "Snakefile",
        "config.yaml",
        "rules",
        "workflow_scripts",
        "schemas",
        "envs",
        "report",
        "resources",
        "data",
    ):
        for path in [study / name, *(study / name).rglob("*")]:
            os.utime(path)
    assert rules(study) == {}


def test_a_comment_in_the_configuration_reruns_nothing(study: Path) -> None:
    append(study / "config.yaml", "# a note")
    assert rules(study) == {}


def test_another_model_revision_reruns_everything_of_the_model(study: Path) -> None:
    edit(study, lambda config: config["models"]["tiny"].update(revision="2"))
    assert rules(study) == FROM_SAMPLES


def test_other_weights_under_the_same_name_rerun_everything_of_the_model(study: Path) -> None:
    write_model(study / "resources" / "models" / "tiny")
    assert rules(study) == {}
    write_model(study / "resources" / "models" / "tiny", seed=1)
    assert rules(study) == FROM_SAMPLES


def test_an_added_data_set_runs_only_what_is_new(study: Path) -> None:
    write_problems(study / "data" / "dice.jsonl", 60, prefix="q")

    def add(config: dict[str, Any]) -> None:
        config["datasets"]["dice"] = dataset("data/dice.jsonl", 60)
        for stage in ("rollouts", "values", "value_probes", "dopamine_probes", "interventions", "search"):
            config[stage]["runs"] = ["tiny/coins", "tiny/dice"]

    edit(study, add)
    found = jobs(study)
    assert {job for job in found if "dataset=coins" in job} == set()
    old = {job: count for job, count in found.items() if "dataset=" not in job}
    assert Counter(job.split()[0] for job in old) == WITHOUT_DATA_SET
    new = Counter(job.split()[0] for job in found if "dataset=dice" in job)
    expected = {"prepare_problems": 1, **FROM_SAMPLES}
    assert new == {rule: count for rule, count in expected.items() if rule not in WITHOUT_DATA_SET}


def test_an_added_model_runs_only_what_is_new(study: Path) -> None:
    write_model(study / "resources" / "models" / "third", seed=2)

    def add(config: dict[str, Any]) -> None:
        config["models"]["third"] = {"path": "resources/models/third"}
        config["rollouts"]["runs"] = ["tiny/coins", "third/coins"]

    edit(study, add)
    found = jobs(study)
    assert {job for job in found if "model=tiny" in job} == set()
    assert Counter(job.split()[0] for job in found) == {"sample_rollouts": 2, "grade_rollouts": 2, **END}


PLOTS = {"plot_pruning": 1, "plot_dose": 1, "plot_transfer": 1, "plot_reliability": 1, "plot_trajectories": 1}
MODULES = {
    "lib/plotting.py": {**PLOTS, "write_report": 1},
    "lib/claims.py": CLAIMS,
    "lib/step_scores.py": SEARCH,
    "lib/transfer.py": {"compare_neurons": 1, "plot_transfer": 1, **CLAIMS},
    "score.py": {},  # a tool of its own
    "write_report.py": {"write_report": 1},
    "lib/grading.py": FROM_ROLLOUTS,
    "lib/boundaries.py": FROM_SAMPLES,  # a response's text is put together from its tokens' bytes
    "lib/normalization.py": FROM_VALUES,
    # what both kinds of probe share imports the value probes' losses
    "lib/td.py": {**FROM_DOPAMINE_PROBES, **FROM_CAUSAL_PROBES, **FROM_PROBE_SETTINGS},
    "lib/vllm_worker.py": FROM_SAMPLES,  # whichever engine is configured
    "lib/masked.py": {**MASKED_END, "tabulate_trajectories": 1, "tabulate_search": 1},
    "select_neurons.py": FROM_NEURONS,
    "estimate_values.py": {"estimate_values": 1, **FROM_VALUES},
    "lib/check_config.py": {},
    "lib/one_run.py": {},
    "lib/job_surroundings.py": {},
}


@pytest.mark.parametrize("name", MODULES)
def test_an_edited_module_reruns_exactly_its_users(study: Path, name: str) -> None:
    append(study / "workflow_scripts" / name, "# another thought")
    assert rules(study) == MODULES[name]


SETTINGS: dict[str, tuple[Any, dict[str, int]]] = {
    "study": ("other", {"write_report": 1}),
    "rollouts.batch_size": (32, {"write_report": 1}),
    "activations.batch_tokens": (1000, {"write_report": 1}),
    "rollouts.temperature": (0.9, FROM_SAMPLES),
    "values.n_continuations": (6, FROM_CONTINUATIONS),
    "values.min_abs_delta": (0.2, {"estimate_values": 1, **FROM_VALUES}),
    "activations.layers": ([1, 2], FROM_ACTIVATIONS),
    "value_probes.epochs": (3, FROM_PROBE_SETTINGS),
    "dopamine_probes.epochs": (3, {**FROM_DOPAMINE_PROBES, **FROM_CAUSAL_PROBES}),
    "dopamine_probes.normalization": ("causal", DOPAMINE),
    "pruning.random_draws": (6, {"evaluate_value_pruning": 1, "evaluate_dopamine_pruning": 1, **END}),
    "figures.fig1.layers": ([2], {"plot_pruning": 1, "write_report": 1}),
    "ntp_probes.epochs": (2, {"train_ntp_probes": 1, **FROM_NEURONS}),
    "interventions.draws": (3, FROM_NEURONS),
    "interventions.dose_factors": ([2.0, 3.0], FROM_CONDITIONS),
    "interventions.n_problems": (60, {**FROM_CONDITIONS, "mask_neurons": 1}),
    "confidence.bins": (5, CONFIDENCE_END),
    "confidence.folds": (3, CONFIDENCE),
    "search.candidates": (3, SEARCH),
    "search.seeds": ([0, 1], SEARCH),  # the first seed stays
    "trajectories.draws": (3, ABLATED),
    "trajectories.page_responses": (3, {"write_report": 1}),
    "transfer.families": ([["tiny", "other"]], {"compare_neurons": 1, "plot_transfer": 1, **CLAIMS}),
    "figures.fig2.layers": ([2], {"plot_transfer": 1, "write_report": 1}),
    "vllm.eager": (True, {"write_report": 1}),
    "split.seed": (1, {"prepare_problems": 1, **FROM_SAMPLES}),
}


@pytest.mark.parametrize("key", SETTINGS)
def test_a_changed_number_reruns_exactly_what_reads_it(study: Path, key: str) -> None:
    value, expected = SETTINGS[key]

    def change(config: dict[str, Any]) -> None:
        *parents, last = key.split(".")
        for parent in parents:
            config = config.setdefault(parent, {})
        config[last] = value

    edit(study, change)
    assert rules(study) == expected


def test_a_deleted_shard_reruns_itself_and_what_is_below(study: Path) -> None:
    (study / "results" / "rollouts" / "tiny" / "coins" / "1.parquet").unlink()
    found = jobs(study)
    assert {job for job in found if job.startswith("grade_")} == {"grade_rollouts dataset=coins model=tiny shard=1"}
    assert not any(job.startswith("sample_") for job in found)
    assert {job for job in found if job.startswith("dump_")} == {"dump_activations dataset=coins model=tiny shard=1"}
    assert {job for job in found if job.startswith("continue_")} == {
        "continue_paragraphs dataset=coins model=tiny shard=1"
    }


def test_new_versions_of_libraries_rerun_what_computes_with_them(study: Path) -> None:
    lock = study / "envs" / "run.txt"
    pinned = lock.read_text()
    for library, expected in {
        "tqdm": {},
        "matplotlib": {**PLOTS, "write_report": 1},
        "math-verify": FROM_ROLLOUTS,
        "transformers": FROM_SAMPLES,
    }.items():
        lock.write_text(re.sub(rf"^{library}==.*$", f"{library}==99.0", pinned, flags=re.MULTILINE))
        assert lock.read_text() != pinned
        assert rules(study) == expected, library


def test_a_fresh_checkout_beside_old_results_reruns_nothing(study: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    kept = ("results", ".snakemake")
    shutil.copytree(study, fresh, copy_function=shutil.copy, ignore=shutil.ignore_patterns(*kept))
    for name in kept:
        shutil.copytree(study / name, fresh / name)
    assert rules(fresh) == {}
