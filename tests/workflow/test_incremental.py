"""What a change reruns, by dry run on the finished study: exactly what it touches, and everything below that."""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml

from tests.workflow.study import (
    by_rule,
    dataset,
    jobs,
    read_tensors,
    replace,
    rules,
    snakemake,
    write_model,
    write_problems,
)
from workflow_scripts.lib.neurons.catalogue import CATALOGUE
from workflow_scripts.lib.probes.perceptrons import PARAMETERS, load
from workflow_scripts.lib.storage.tensors import read_metadata

REPORT = {"write_report": 1, "write_provenance": 1}
PRINTED = {"tabulate_settings": 1}
"""What compares settings with those that the paper prints."""
CLAIMS = {"judge_claims": 1, "quote_cases": 1, **REPORT}
END = {"tabulate_results": 1, "plot_pruning": 1, **REPORT}
TRANSFER = {"list_neurons": 1, "compare_neurons": 1, "plot_transfer": 1, **CLAIMS}
CONFIDENCE_END = {"tabulate_confidence": 1, "plot_reliability": 1, **CLAIMS}
CONFIDENCE = {"predict_confidence": 1, **CONFIDENCE_END}
SEARCH = {"guide_search": 1, "tabulate_search": 1, **CLAIMS}
FROM_CAUSAL_PROBES = {"train_causal_probes": 1, **SEARCH}
CAUSAL = {"average_causal_paragraphs": 1, **FROM_CAUSAL_PROBES}
TRAJECTORY_END = {"tabulate_trajectories": 1, "plot_trajectories": 1, **CLAIMS}
ABLATED = {"ablate_value_neurons": 1, **TRAJECTORY_END}
TRACED = {"trace_neurons": 1, **ABLATED}
VALUE_CURVES = {"evaluate_value_pruning": 1, **END}
DOPAMINE_CURVES = {"evaluate_dopamine_pruning": 1, **END}
VALUE_SCORES = {"score_value_probes": 1, **VALUE_CURVES, **CLAIMS}
DOPAMINE_SCORES = {"score_dopamine_probes": 1, **DOPAMINE_CURVES, **CLAIMS}
FROM_DOPAMINE_PROBES = {"train_dopamine_probes": 1, **DOPAMINE_SCORES, **TRANSFER, **TRACED}
DOPAMINE = {"average_paragraphs": 1, **FROM_DOPAMINE_PROBES}
FROM_VALUES = {**DOPAMINE, **CAUSAL}
FROM_CONTINUATIONS = {"continue_paragraphs": 2, "estimate_values": 1, **FROM_VALUES}
FROM_LAST_VALUES = {**FROM_CONTINUATIONS, "segment_paragraphs": 1, "continue_paragraphs": 1}
FROM_PARAGRAPHS = {"segment_paragraphs": 2, **FROM_CONTINUATIONS}
MASKED_END = {"tabulate_interventions": 1, "plot_dose": 1, **CLAIMS}
FROM_CONDITIONS = {"mask_neurons": 2, **MASKED_END}
FROM_NEURONS = {"select_neurons": 1, **FROM_CONDITIONS}
FROM_VALUE_PROBES = {"train_value_probes": 1, **VALUE_SCORES, **FROM_NEURONS} | {
    **TRANSFER,
    **CONFIDENCE,
    **SEARCH,
    **ABLATED,
}
FROM_PROBE_SETTINGS = {"train_final_probes": 1, **FROM_VALUE_PROBES}
FROM_ACTIVATIONS = {"dump_activations": 2, "train_ntp_probes": 1, **FROM_PROBE_SETTINGS, **FROM_VALUES}
FROM_ROLLOUTS = {"grade_rollouts": 2, "measure_neurons": 1, "ask_confidence": 2, **FROM_PARAGRAPHS, **FROM_ACTIVATIONS}
FROM_SAMPLES = {"sample_rollouts": 2, **FROM_ROLLOUTS}
FROM_LAYERS = {"train_final_probes": 1, "train_ntp_probes": 1, "measure_neurons": 1, **FROM_NEURONS}
OTHER_INTERVALS = {"compare_neurons": 1, "plot_transfer": 1, "tabulate_search": 1, "tabulate_trajectories": 1} | {
    **CONFIDENCE_END,
    **MASKED_END,
}
"""What has intervals beside the curves of pruned probes."""
ONE_SHARD = dict.fromkeys(("prepare_problems", "sample_rollouts", "grade_rollouts", "ask_confidence"), 1)
ONE_SHARD |= {"dump_activations": 1}
JOINED = {**FROM_LAYERS, **FROM_PROBE_SETTINGS}
"""What is made from the responses and states of all shards."""
MASKED_AGAIN = {f"mask_neurons dataset=coins layer=1 model=tiny shard={shard}" for shard in (0, 1)}
"""Neurons are selected anew by probes that were trained on more problems."""
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
    expected = {"prepare_problems": 2, **FROM_SAMPLES}
    assert new == {rule: count for rule, count in expected.items() if rule not in WITHOUT_DATA_SET}


def test_a_larger_data_set_computes_only_the_new_shard(study: Path) -> None:
    write_problems(study / "data" / "coins.jsonl", 120)
    assert rules(study) == {}
    edit(study, lambda config: config["datasets"]["coins"].update(n_problems=120))
    found = jobs(study)
    assert {job for job in found if "shard=" in job and "shard=2" not in job} == MASKED_AGAIN
    assert by_rule(found) == {**ONE_SHARD, **JOINED}


def test_in_a_shard_that_was_not_full_more_problems_rerun_that_shard(study: Path) -> None:
    """Whether problems come or go: what a shard's jobs are told is how far the shard reaches."""
    edit(study, lambda config: config["datasets"]["coins"].update(n_problems=90))
    found = jobs(study)
    assert {job for job in found if "shard=" in job and "shard=1" not in job} == {
        job for job in MASKED_AGAIN if "shard=0" in job
    }
    assert by_rule(found) == {**ONE_SHARD, **JOINED, **FROM_LAST_VALUES}


def test_more_valued_problems_compute_only_their_shards(study: Path) -> None:
    edit(study, lambda config: config["values"].update(n_problems=96))
    assert {job for job in jobs(study) if "shard=" in job} == {
        f"{rule} dataset=coins model=tiny shard=2" for rule in ("segment_paragraphs", "continue_paragraphs")
    }


def test_a_corrected_problem_reruns_its_shard(study: Path) -> None:
    path = study / "data" / "coins.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:10], lines[10].replace('"answer": "1"', '"answer": "2"'), *lines[11:]]) + "\n")
    assert path.read_text().splitlines() != lines
    found = jobs(study)
    asked = "ask_confidence dataset=coins model=tiny shard=1"  # the problems that are asked first are in shard 0
    assert {job for job in found if job.startswith(tuple(ONE_SHARD))} - {asked} == {
        f"{rule} dataset=coins{'' if rule == 'prepare_problems' else ' model=tiny'} shard=0" for rule in ONE_SHARD
    }
    assert asked in found


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
    "lib/report/figure_style.py": {**PLOTS, **REPORT},
    "lib/claims/paper_claims.py": CLAIMS,
    "lib/statistics/joint.py": {**MASKED_END, "tabulate_search": 1, "tabulate_trajectories": 1},
    "lib/claims/outcome_cells.py": CLAIMS,
    "lib/runtime/reuse.py": FROM_ACTIVATIONS,
    "lib/search/step_scores.py": SEARCH,
    "lib/neurons/overlap.py": {"compare_neurons": 1, "plot_transfer": 1, **CLAIMS},
    "score.py": {},  # a tool of its own
    "write_report.py": REPORT,
    "lib/grading/responses.py": FROM_ROLLOUTS,
    "lib/models/paragraphs.py": FROM_SAMPLES,  # a response's text is put together from its tokens' bytes
    "lib/probes/features.py": FROM_VALUES,
    "lib/probes/pruned_scores.py": {**VALUE_SCORES, **DOPAMINE_SCORES},
    "lib/probes/pruning_rows.py": {**VALUE_CURVES, **DOPAMINE_CURVES},
    "lib/engines/vllm_worker.py": FROM_SAMPLES,  # whichever engine is configured
    "lib/statistics/paired.py": {**MASKED_END, "tabulate_trajectories": 1, "tabulate_search": 1},
    "select_neurons.py": FROM_NEURONS,
    "estimate_values.py": {"estimate_values": 1, **FROM_VALUES},
    "lib/config/study.py": {"write_provenance": 1},
    "lib/config/check.py": {},  # what a start of the workflow reads
    "lib/config/read.py": {},
    "lib/plan/costs.py": {"write_provenance": 1},
    "plan_costs.py": {},
    "lib/runtime/run_lock.py": {},
    "lib/runtime/job_environment.py": {},
}


@pytest.mark.parametrize("name", MODULES)
def test_an_edited_module_reruns_exactly_its_users(study: Path, name: str) -> None:
    append(study / "workflow_scripts" / name, "# another thought")
    assert rules(study) == MODULES[name]


def test_a_stated_size_of_a_model_reruns_nothing(study: Path) -> None:
    size = {"parameters": 5000, "hidden_size": 16, "n_layers": 2, "vocabulary": 14, "key_width": 16}
    edit(study, lambda config: [model.update(size=size) for model in config["models"].values()])
    assert rules(study) == {}


SETTINGS: dict[str, tuple[Any, dict[str, int]]] = {
    "study": ("other", {**WITHOUT_DATA_SET, **PRINTED}),  # a folder of its own; records are shared
    "rollouts.batch_size": (32, REPORT),
    "activations.batch_tokens": (1000, REPORT),
    "rollouts.temperature": (0.9, {**FROM_SAMPLES, **PRINTED}),
    "values.n_continuations": (6, FROM_CONTINUATIONS),
    "values.adaptive": ({"first": 4, "budget": 8}, FROM_CONTINUATIONS),
    "values.min_abs_delta": (0.4, {"estimate_values": 1, **FROM_VALUES}),
    "activations.layers": ([1, 2], FROM_ACTIVATIONS),
    "value_probes.epochs": (3, {**FROM_PROBE_SETTINGS, **PRINTED}),
    "dopamine_probes.epochs": (3, {**FROM_DOPAMINE_PROBES, **FROM_CAUSAL_PROBES, **PRINTED}),
    "dopamine_probes.normalization": ("causal", DOPAMINE),
    "pruning.random_draws": (6, {**VALUE_SCORES, **DOPAMINE_SCORES}),
    "pruning.bootstrap": (60, {**VALUE_CURVES, **DOPAMINE_CURVES, **OTHER_INTERVALS}),  # nothing is scored again
    "figures.fig1.layers": ([2], {"plot_pruning": 1, **REPORT}),
    "ntp_probes.epochs": (2, {"train_ntp_probes": 1, **FROM_NEURONS}),
    "interventions.draws": (3, FROM_NEURONS),
    "interventions.dose_factors": ([2.0, 3.0], FROM_CONDITIONS),
    "interventions.n_problems": (60, {**FROM_CONDITIONS, "mask_neurons": 1}),
    "confidence.bins": (5, CONFIDENCE_END),
    "confidence.folds": (3, CONFIDENCE),
    "search.candidates": (3, SEARCH),
    "search.seeds": ([0, 1], SEARCH),  # the first seed stays
    "trajectories.draws": (3, ABLATED),
    "trajectories.page_responses": (3, REPORT),
    "transfer.families": ([["tiny", "other"]], {"compare_neurons": 1, "plot_transfer": 1, **CLAIMS}),
    "figures.fig2.layers": ([2], {"plot_transfer": 1, **REPORT}),
    "vllm.eager": (True, REPORT),
    "split.seed": (1, {"prepare_problems": 2, **FROM_SAMPLES, **PRINTED}),
    "datasets.coins.template": ("{question} again", FROM_SAMPLES),
    "datasets.coins.instruction": ("Box it.", FROM_SAMPLES),
    "models.tiny.prompt": ("plain", {**FROM_SAMPLES, **PRINTED}),
    "models.tiny.instruction": ("Box it.", FROM_SAMPLES),
    "value_probes.seeds": ([0, 1, 2], {**FROM_PROBE_SETTINGS, **PRINTED}),
    "value_probes.shuffled_seeds": ([0, 1], FROM_VALUE_PROBES),
    "dopamine_probes.seeds": ([0, 1, 2], {**FROM_DOPAMINE_PROBES, **FROM_CAUSAL_PROBES, **PRINTED}),
    "dopamine_probes.shuffled_seeds": ([], FROM_DOPAMINE_PROBES),
    "interventions.layers": ([1, 2], {**FROM_LAYERS, "mask_neurons": 4}),
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


VALUE_PROBES = "results/probes/tiny/coins/value.safetensors"


def test_an_added_layer_or_seed_is_all_that_is_trained(study: Path, finished: Path) -> None:
    """From two layers and two seeds to three and three: the jobs run, and take over what is there."""

    def choose(layers: list[int], seeds: list[int]) -> dict[str, str]:
        """Logs of a run up to the value probes."""
        edit(study, lambda config: config["activations"].update(layers=layers))
        edit(study, lambda config: config["value_probes"].update(seeds=seeds))
        assert rules(study, "--", VALUE_PROBES) == {"dump_activations": 2, "train_value_probes": 1}
        snakemake(study, "--cores", "2", VALUE_PROBES)
        logs = {"probes": "train_value_probes/tiny/coins", "0": "dump_activations/tiny/coins/0"}
        logs |= {"1": "dump_activations/tiny/coins/1"}
        return {name: (study / f"results/logs/{log}.log").read_text() for name, log in logs.items()}

    said = choose([1, 2], [0, 1])
    assert "kept 6 of 6 probes, 0 new" in said["probes"]
    assert all("kept 2 of 2 layers, 0 new" in said[shard] for shard in "01")
    said = choose([0, 1, 2], [0, 1, 2])
    assert "kept 6 of 12 probes, 6 new" in said["probes"]
    assert all("kept 2 of 3 layers, 1 new" in said[shard] for shard in "01")
    for shard in "01":
        name = f"results/activations/tiny/coins/{shard}.safetensors"
        assert read_tensors(study / name) == read_tensors(finished / name)
        assert read_metadata(study / name) == read_metadata(finished / name)
    old, old_about = load(finished / VALUE_PROBES)
    new, new_about = load(study / VALUE_PROBES)
    both = [new.specs.index(spec) for spec in old.specs]
    assert all(torch.equal(getattr(new.select(both), name), getattr(old, name)) for name in PARAMETERS)
    assert [new_about["origins"][i] for i in both] == old_about["origins"]


def test_an_added_masked_layer_is_all_that_is_generated(study: Path, finished: Path) -> None:
    masked = [f"results/masked/tiny/coins/{layer}/0.parquet" for layer in (1, 2)]
    edit(study, lambda config: config["interventions"].update(layers=[1, 2]))
    snakemake(study, "--cores", "2", *masked)
    logs = [(study / f"results/logs/mask_neurons/tiny/coins/{layer}/0.log").read_text() for layer in (1, 2)]
    n = pl.read_parquet(finished / masked[0].replace(".parquet", ".proofs.parquet")).height
    assert f"kept {n} of {n} conditions, 0 new" in logs[0] and "kept 0 of " in logs[1]
    assert pl.read_parquet(study / masked[0]).equals(pl.read_parquet(finished / masked[0]))


def test_new_versions_of_libraries_rerun_what_computes_with_them(study: Path) -> None:
    lock = study / "envs" / "run.txt"
    pinned = lock.read_text()
    for library, expected in {
        "tqdm": {},
        "matplotlib": {**PLOTS, **REPORT},
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


ADDED_ROWS = {
    "neurons/catalogue.py": '"again": Selection("again", ("measures",), drawn=True)',
    "search/methods.py": '"again": Method("random again", "guided")',
    "confidence/methods.py": '"again": Method("length again", "training")',
}


def add_row(study: Path, catalogue: str, row: str) -> None:
    """Write a row at the end of a catalogue."""
    path = study / "workflow_scripts" / "lib" / catalogue
    head, table, rest = re.split(r"(?<=\n)(CATALOGUE = \{\n.*?)(?=\}\n)", path.read_text(), maxsplit=1, flags=re.DOTALL)
    path.write_text(f"{head}{table}    {row},\n{rest}")


def test_rows_that_a_study_does_not_use_rerun_nothing(study: Path) -> None:
    for name in ("neurons/catalogue.py", "search/methods.py"):
        add_row(study, name, ADDED_ROWS[name])
    assert rules(study) == {}


def test_an_added_row_reruns_only_what_it_adds(study: Path) -> None:
    """What was generated of the other rows is taken over (`test_an_added_masked_layer_is_all_that_is_generated`)."""
    add_row(study, "confidence/methods.py", ADDED_ROWS["confidence/methods.py"])
    assert rules(study) == CONFIDENCE
    add_row(study, "neurons/catalogue.py", ADDED_ROWS["neurons/catalogue.py"])
    schema = study / "schemas" / "config.schema.yaml"
    schema.write_text(schema.read_text().replace("random_sink_free, ", "random_sink_free, again, "))
    chosen = [*CATALOGUE, "again"]
    edit(study, lambda config: config["interventions"].update(selections=chosen))
    assert rules(study) == CONFIDENCE | FROM_NEURONS


NEW_ROWS = {
    "grading/grade.py": '    "word": AnswerType(_word),\n',
    "problems/readers.py": '    "word": _word,\n',
    "probes/targets.py": '    "half": ProbeTarget(lambda values, rewards, last, how: rewards / 2),\n',
    "search/scorers.py": '"longest": _longest, ',
}
FUNCTIONS = {
    "grading/grade.py": "def _word(answer, grader):\n    from workflow_scripts.lib.grading.word import grade_word\n\n",
    "problems/readers.py": "def _word(*_):\n",
    "search/scorers.py": "def _longest(*_):\n",
}


def test_new_code_that_a_study_does_not_use_reruns_nothing(study: Path) -> None:
    """Another answer type with a module of its own, another target, another scorer: a row, and a function beside it."""
    library = study / "workflow_scripts" / "lib"
    (library / "grading" / "word.py").write_text("def grade_word():\n    pass\n")
    for name, row in NEW_ROWS.items():
        head, table, rest = (library / name).read_text().partition("CATALOGUE = {")
        rest = rest.replace("\n", f"\n{row}", 1) if rest.startswith("\n") else row + rest
        function = f"{FUNCTIONS[name]}    return 0\n\n\n" if name in FUNCTIONS else ""
        (library / name).write_text(head + function + table + rest)
    assert rules(study) == {}


USED_CODE = {
    "grading/grade.py": ("def _integer(", "def _integer(*_more, ", FROM_ROLLOUTS),
    "probes/targets.py": ("ahead = following(", "ahead = 1 * following(", FROM_VALUE_PROBES),
    "search/scorers.py": ("def _random(", "def _random(*_more, ", SEARCH),
}


@pytest.mark.parametrize("name", USED_CODE)
def test_changed_code_of_a_used_row_reruns_its_users(study: Path, name: str) -> None:
    old, new, expected = USED_CODE[name]
    replace(study / "workflow_scripts" / "lib" / name, old, new)
    assert rules(study) == expected


def test_a_changed_row_or_a_function_of_a_catalogue_reruns_its_users(study: Path) -> None:
    path = study / "workflow_scripts" / "lib" / "neurons" / "catalogue.py"
    path.write_text(path.read_text().replace('"NTP neurons"', '"next-token neurons"'))
    assert rules(study) == FROM_NEURONS
    path.write_text(path.read_text().replace('"next-token neurons"', '"NTP neurons"'))
    assert rules(study) == {}
    path.write_text(path.read_text().replace("CATALOGUE[name].needs]", "CATALOGUE[name].needs or ()]"))
    assert rules(study) == FROM_NEURONS
