"""Faults in a configuration: the right file, key and remedy, in one line."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.small_project import CONFIG, LEAST, changed
from tests.unit.small_project import project as project
from workflow_scripts import check_config as command
from workflow_scripts.lib.config.check import check
from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.config.study import left_out, with_defaults
from workflow_scripts.lib.errors import UserError, report_errors


def test_a_configuration_in_order_passes(project: Path) -> None:
    check(CONFIG)


FAULTS = [
    ("value_probes.epoch", 5, "value_probes.epoch: unknown key; did you mean epochs?"),
    ("valeus", {}, "valeus: unknown key; did you mean values?"),
    ("datasets.d.field", {}, "datasets.d.field: unknown key; did you mean fields?"),
    ("figures.fig1.layer", [1], "figures.fig1.layer: unknown key; did you mean layers?"),
    ("rollouts", ..., "the file: lacks rollouts; schemas/config.schema.yaml describes it"),
    ("rollouts.runs", ["m/x"], "rollouts.runs[0]: m/x: datasets has no entry x; known are d"),
    ("rollouts.runs", ["mm/d"], "rollouts.runs[0]: mm/d: models has no entry mm; did you mean m?"),
    ("rollouts.runs", ["m"], "rollouts.runs[0]: 'm' has the wrong format; write model/dataset, by their names in"),
    ("rollouts.runs", [], "rollouts.runs: is empty, and needs at least 1 of a list; schemas/config"),
    ("rollouts.runs", ["m/d", "m/d"], "rollouts.runs: 'm/d' is given twice; remove one of the two"),
    ("rollouts.runs", ["m/d", 3, "m/d"], "rollouts.runs[1]: 3 is not text; put it in quotes"),
    ("rollouts.runs", ["m/d\n"], "rollouts.runs[0]: 'm/d\\n' has the wrong format; write model/dataset"),
    ("rollouts.runs", ["m/" + 101 * "d"], "ddd...' has the wrong format; write model/dataset"),
    ("study", "abc\n", "study: 'abc\\n' has the wrong format; write at most 100 lower-case letters"),
    ("study", 101 * "a", "aaa...' has the wrong format; write at most 100 lower-case letters"),
    ("study", "a\0b", "study: 'a\\x00b' holds a zero byte or half a character; take it out"),
    ("about", 5, "about: 5 is not text or null; put it in quotes"),
    ("models", {"m\n": {"path": "a/b"}}, "models.'m\\n': is no name for files; use at most 100 lower-case letters"),
    ("models", {7: {"path": "a/b"}}, "models.7: is no name for files; put it in quotes"),
    ("models", {}, "models: is empty, and needs at least 1 entries"),
    ("models.m.path", "", "models.m.path: is empty, and needs at least 1 letters"),
    ("models.m.path", "owner/", "models.m.path: owner/: no such folder; correct the path, or write owner/name"),
    ("models.m.path", "owner/na me", "models.m.path: owner/na me: no such folder"),
    ("models.m.path", "a b c", "models.m.path: a b c: no such folder"),
    ("models.m.path", 5000 * "a", "aaa...: no such folder"),
    ("values.n_problems", 5.0, "values.n_problems: 5.0 is not a whole number; write 5"),
    ("values.n_problems", 5.5, "values.n_problems: 5.5 is not a whole number"),
    ("values.n_problems", 1.0e30, "values.n_problems: 1e+30 is not a whole number"),
    ("values.n_problems", 10**30, "000 is out of range; it must be at most 1000000000"),
    ("values.n_problems", "09", "values.n_problems: '09' is not a whole number; write 9"),
    ("values.shard_size", None, "values.shard_size: null is not a whole number"),
    ("interventions.n_problems", 2.0, "interventions.n_problems: 2.0 is not a whole number or null; write 2"),
    ("activations.layers", [2.0], "activations.layers[0]: 2.0 is not a whole number; write 2"),
    ("activations.layers", [2.0, 1, 1], "activations.layers[0]: 2.0 is not a whole number; write 2"),
    ("activations.layers", "2", "activations.layers: '2' is not a list or null"),
    ("value_probes.seeds", [0.0], "value_probes.seeds[0]: 0.0 is not a whole number; write 0"),
    ("datasets.d.sha256", 1234, "datasets.d.sha256: 1234 is not text or null; put it in quotes"),
    ("datasets.d.sha256", 64 * "0" + "\n", "has the wrong format; write the 64 digits 0-9 and a-f of a SHA-256"),
    ("datasets.d.url", "https://x y/d.jsonl", "has the wrong format; write an address without spaces that begins"),
    ("datasets.d.template", "Q", "datasets.d.template: 'Q' has the wrong format; write a text with {question} in it"),
    ("datasets.d.task", "locks", "datasets.d.task: is only for source: reference; remove it, or set it to null"),
    ("datasets.d.subset", "main", "datasets.d.subset: is only for source: hub; remove it, or set it to null"),
    ("datasets.d.path", 5000 * "a", "aaa...: no such file; correct the path"),
    (
        "datasets.d",
        {"source": "reference", "task": "locks", "n_problems": 2},
        "datasets.d.answer: math does not fit a task, whose answers are integers; write boxed_integer",
    ),
    (
        "datasets.d",
        {"source": "hub", "path": "o/n", "url": "https://x.org/d.jsonl", "n_problems": 2},
        "datasets.d.url: is only for source: file; remove it",
    ),
    ("datasets.d", {"source": "hub", "path": "a b c", "n_problems": 2}, "d.path: 'a b c' is no folder, and no name on"),
    (
        "datasets.d",
        {"source": "hub", "path": "o/n", "n_problems": 10**9, "shard_size": 10},
        "datasets.d.shard_size: 10 cuts 1000000000 problems into more than 100000 shards; raise it to 10000 or more",
    ),
    ("rollouts.top_p", 0, "rollouts.top_p: 0 is out of range; it must be more than 0"),
    ("rollouts.engine", "vlm", "rollouts.engine: vlm is not known; did you mean vllm?"),
    (
        "values.adaptive",
        {"first": 8, "budget": 6},
        "values.adaptive.first: 8 is above values.adaptive.budget, 6; lower it, or raise the budget",
    ),
    ("values.adaptive", {"first": 3}, "values.adaptive.first: 3 is out of range; it must be a multiple of 2"),
    ("values.adaptive", {"widths": 1}, "values.adaptive.widths: unknown key; did you mean half_width?"),
    ("values.n_continuations", 3, "values.n_continuations: 3 is out of range; it must be a multiple of 2"),
    ("value_probes.learning_rate", "1e-4", "'1e-4' is not a number (YAML reads 1e-4 as text: write 1.0e-4)"),
    ("value_probes.hidden", True, "value_probes.hidden: true is not a whole number"),
    ("value_probes.target", "mcc", "value_probes.target: mcc is not known; did you mean mc?"),
    ("value_probes", [], "value_probes: [] is not a mapping"),
    ("pruning.ratios", [0.1, 1.2], "pruning.ratios[1]: 1.2 is out of range; it must be less than 1"),
    ("pruning.ratios", [-0.1], "pruning.ratios[0]: -0.1 is out of range; it must be at least 0"),
    ("activations.layers", [1, 3], "activations.layers[1]: model m has no layer 3; its layers are 1 to 2, and 0"),
    ("figures.fig1.layers", [4], "figures.fig1.layers[0]: layer 4 is not in activations.layers; add it there"),
    ("figures.fig1.layers", [], "figures.fig1.layers: is empty"),
    ("figures.fig4.runs", ["x/d"], "figures.fig4.runs[0]: x/d is not in dopamine_probes.runs; add it there"),
    ("values.runs", [], "dopamine_probes.runs[0]: m/d is not in values.runs; add it there or take it away here"),
    ("models.m.path", "models/n", "models.m.path: models/n: no such folder; correct the path, or write owner/name"),
    ("models.m.path", "data", "models.m.path: data holds no config.json and no *.safetensors and no tokenizer*.json"),
    ("models.A", {"path": "a/b"}, "models.A: is no name for files; use at most 100 lower-case letters"),
    ("datasets.d.path", "data/e.jsonl", "datasets.d.path: data/e.jsonl: no such file; correct the path"),
    ("datasets.d.path", None, "datasets.d.source: file needs `path`; add it"),
    ("datasets.d.source", "reference", "datasets.d.source: reference needs `task`; add it"),
    ("transfer.families", [["m", "n"]], "transfer.families[0][1]: models has no entry n; known are m"),
    ("transfer.families", [["m"]], "transfer.families[0]: has 1, and needs at least 2 of a list"),
    ("confidence.layers", [1, 3], "confidence.layers[1]: layer 3 is not in activations.layers; add it there"),
    (
        "search",
        {"runs": ["m/d"], "methods": ["random"], "layer": 3},
        "search.layer: layer 3 is not in activations.layers; add it there",
    ),
    ("search.reference", "n", "search.reference: models has no entry n; known are m"),
    ("search.reference", "m", "search.reference: m would be scored against itself; name the model it was made from"),
    (
        "search.methods",
        ["implicit_prm"],
        "search.reference: implicit_prm needs the model to score against; name it, or drop",
    ),
    ("rollouts.temperature", math.nan, "rollouts.temperature: nan is not a finite number; write one, or leave"),
    ("pruning.ratios", [0.1, math.inf], "pruning.ratios[1]: inf is not a finite number"),
    ("models.m.size", {"parameters": -math.inf}, "models.m.size.parameters: -inf is not a finite number"),
    ("values.7", 1, "values.7: unknown key"),
    ("study", "../up", "study: '../up' has the wrong format; write at most 100 lower-case letters"),
    ("interventions.runs", ["m/e"], "interventions.runs[0]: m/e is not in value_probes.runs; add it there or take"),
    ("trajectories.layer", 3, "trajectories.layer: layer 3 is not in activations.layers; add it there"),
    ("trajectories.ablated_layers", [2], "trajectories.ablated_layers[0]: layer 2 is not before trajectories.layer, 2"),
    ("trajectories.runs", ["m/e"], "trajectories.runs[0]: m/e is not in dopamine_probes.runs; add it there"),
    ("figures.fig2.runs", ["m/e"], "figures.fig2.runs[0]: m/e is not in transfer.runs; add it there"),
    ("datasets.d.n_problems", 3, "datasets.d.n_problems: 3 wanted but data/d.jsonl has 2; set it to at most 2"),
]


@pytest.mark.parametrize(("path", "value", "expected"), FAULTS, ids=[f"{path}={value}" for path, value, _ in FAULTS])
def test_a_fault_names_key_and_remedy(project: Path, path: str, value: Any, expected: str) -> None:
    config = changed(path, value)
    if path.startswith("search."):
        config["search"] = {"runs": ["m/d"]} | config.get("search", {})
    Path("config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(UserError) as caught:
        read_study(["config.yaml"])
    assert str(caught.value).startswith("config.yaml: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{not json", "line 2"),
        ('{"question": "one"}', "answer"),
        ('{"question": "", "answer": "1"}', "question"),
        ("[1]", "line 2"),
    ],
)
def test_a_malformed_record_is_named_by_file_and_line(project: Path, line: str, expected: str) -> None:
    Path("data/d.jsonl").write_text('{"question": "one plus one", "answer": "2"}\n' + line + "\n")
    with pytest.raises(UserError) as caught:
        check(CONFIG)
    assert "data/d.jsonl" in str(caught.value)
    assert "2" in str(caught.value)
    assert expected in str(caught.value)


DAMAGED = {
    "{": "not valid JSON",
    "[1]": "is a list, not a mapping; fetch the model again",
    100_000 * "[": "is nested too deeply; fetch the model again",
    '{"num_hidden_layers": ' + 5000 * "1" + "}": "not valid JSON",
    '{"text_config": 3}': "text_config is not a mapping",
    '{"num_hidden_layers": 1000000000000, "hidden_size": 8}': "1000000000000 layers of 8 are no model",
    '{"num_hidden_layers": true, "hidden_size": 8}': "num_hidden_layers not found",
}


@pytest.mark.parametrize("text", DAMAGED, ids=[text[:20] for text in DAMAGED])
def test_a_damaged_model_folder_is_named(project: Path, text: str) -> None:
    Path("models/m/config.json").write_text(text)
    with pytest.raises(UserError, match=rf"^models/m/config.json: {DAMAGED[text]}"):
        check(CONFIG)


def test_a_folder_in_place_of_a_model_s_config_is_named(project: Path) -> None:
    Path("models/m/config.json").unlink()
    Path("models/m/config.json").mkdir()
    with pytest.raises(UserError, match=r"^models/m/config.json: cannot be read \(Is a directory\)"):
        check(CONFIG)


def test_an_empty_file_of_problems_is_to_be_filled(project: Path) -> None:
    Path("data/d.jsonl").write_text("\n")
    with pytest.raises(UserError, match=r"datasets\.d\.path: data/d\.jsonl is empty; write problems into it"):
        check(CONFIG)


def test_what_only_hubs_and_tasks_have_passes(project: Path) -> None:
    check(changed("datasets.d", {"source": "hub", "path": "o/n", "subset": "s", "revision": "r", "n_problems": 2}))
    check(changed("datasets.d", {"source": "reference", "task": "locks", "n_problems": 2, "answer": "boxed_integer"}))


def test_the_overlay_that_holds_the_key_is_named(project: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    Path("over.yaml").write_text("pruning: {ratios: [0.0, 1.2]}\n")
    with pytest.raises(SystemExit, match=r"error: over\.yaml: pruning\.ratios\[1\]: 1\.2"):
        report_errors(lambda: command.main(["config.yaml", "over.yaml"]))


def test_the_command_says_when_all_is_in_order(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    command.main([])
    assert capsys.readouterr().out == "config.yaml: in order\n"


def test_text_that_is_not_yaml_is_named_by_line(project: Path) -> None:
    Path("config.yaml").write_text("models: {}\nrollouts: [\n")
    with pytest.raises(UserError, match=r"config\.yaml: line 3: not YAML"):
        command.main([])


def test_a_hub_model_is_not_looked_for_on_this_machine(project: Path) -> None:
    check(changed("models.m.path", "owner/name"))


def test_entries_of_the_catalogue_that_no_run_uses_cost_nothing(project: Path) -> None:
    check(changed("models.other", {"path": "models/absent"}))
    check(changed("datasets.other", {"source": "file", "path": "absent.jsonl", "n_problems": 5}))


def test_defaults_are_filled_in_at_every_depth() -> None:
    filled = with_defaults(CONFIG)
    assert filled["split"] == {"train_ratio": 0.8, "seed": 0}
    assert filled["models"]["m"]["prompt"] == "chat"
    fields = filled["datasets"]["d"]["fields"]
    assert {name: fields[name] for name in ("id", "question", "gold")} == {
        "id": None,
        "question": "question",
        "gold": "answer",
    }
    assert filled["figures"]["fig4"] == {"runs": ["m/d"], "layers": None}
    assert filled["figures"]["fig1"] == {"runs": ["m/d"], "layers": [1]}
    assert "value_probes" in CONFIG and "epochs" not in CONFIG["value_probes"]


def test_null_runs_are_those_of_the_stage_before() -> None:
    filled = with_defaults(CONFIG)
    assert filled["confidence"]["runs"] == filled["trajectories"]["runs"] == ["m/d"]
    assert filled["search"]["runs"] == filled["interventions"]["runs"] == filled["figures"]["dose"]["runs"] == ["m/d"]
    assert "implicit_prm" not in filled["search"]["methods"] and "dopamine" in filled["search"]["methods"]
    assert (filled["confidence"]["layers"], filled["search"]["layer"]) == ([2], 2)
    assert (filled["interventions"]["layers"], filled["trajectories"]["ablated_layers"]) == ([2], [1])
    only_values = with_defaults(changed("dopamine_probes.runs", []))
    assert only_values["trajectories"]["runs"] == [] and only_values["figures"]["fig1"]["runs"] == ["m/d"]
    assert with_defaults(filled) == filled


def test_a_missing_folder_of_the_model_that_search_scores_against_is_named(project: Path) -> None:
    config = changed("search", {"runs": ["m/d"], "reference": "other"})
    config["models"]["other"] = {"path": "models/absent"}
    with pytest.raises(UserError, match=r"models\.other\.path: models/absent: no such folder"):
        check(config)


def with_depth(layers: int | None) -> dict[str, Any]:
    size = None if layers is None else {"n_layers": layers}
    return {**LEAST, "models": {"m": {"path": "owner/name", "size": size}}}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, [2, 3, 4, 5]),
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (6, [2, 3, 4, 5, 6]),
        (28, [2, 3, 4, 5, 7, 14, 21, 28]),
    ],
)
def test_layers_are_the_papers_and_some_over_the_depth(layers: int | None, expected: list[int]) -> None:
    filled = with_defaults(with_depth(layers))
    assert filled["activations"]["layers"] == expected
    assert set(filled["interventions"]["layers"]) <= {2, 3, 4, 5} or layers == 1
    assert filled["trajectories"]["layer"] == filled["search"]["layer"] == min(5, layers or 5)
    assert filled["trajectories"]["ablated_layers"] == {1: [], 2: [1], 3: [2]}.get(layers or 5, [2, 3, 4])


def test_the_shallowest_model_says_how_deep_layers_go_and_an_unknown_one_forbids_to_spread() -> None:
    models = {name: {"path": f"owner/{name}", "size": {"n_layers": n}} for name, n in (("m", 4), ("n", 40))}
    config = {**LEAST, "models": models, "rollouts": {"runs": ["m/d", "n/d"]}}
    assert with_defaults(config)["activations"]["layers"] == [1, 2, 3, 4]
    del models["n"]["size"]
    assert with_defaults(config)["activations"]["layers"] == [2, 3, 4]


def test_a_local_model_says_itself_how_deep_it_is(project: Path) -> None:
    assert with_defaults(LEAST)["activations"]["layers"] == [1, 2]
    check(LEAST)


def test_what_is_left_out_has_a_reason(project: Path) -> None:
    assert left_out(with_defaults(LEAST)) == {
        "interventions: dose-response": "interventions.dose_layers names no layer",
        "transfer: pairs": "no two runs are of one model, or of one family of transfer.families",
        "search: implicit_prm": "search.reference names no model",
    }
    without = left_out(with_defaults({**LEAST, "values": {"runs": []}, "activations": {"layers": [0]}}))
    assert without["values"] == "values.runs names none"
    assert without["dopamine_probes"] == "there are no runs of values"
    assert without["search"] == "there are no runs of dopamine_probes"
    assert without["interventions"] == "activations.layers has no layer whose neurons can be ablated"
    alone = left_out(with_defaults({**LEAST, "search": {"reference": "m"}}))
    assert alone["search"] == "implicit_prm would score m against itself"
    assert left_out(with_defaults({**CONFIG, "search": {"reference": "n"}})).keys() == {
        "interventions: dose-response",
        "transfer: pairs",
    }


def test_what_a_study_cannot_have_is_said_and_nothing_else_is_dropped(project: Path) -> None:
    three = {**CONFIG["models"], "n": CONFIG["models"]["m"], "r": CONFIG["models"]["m"]}
    runs = {"models": three, "rollouts": {"runs": ["m/d", "n/d", "r/d"]}, "search": {"reference": "r"}}
    reasons = left_out(with_defaults({**LEAST, **runs}))
    assert reasons["search: r/d"] == "implicit_prm would score r against itself"
    assert not any(reason.startswith("search: m") for reason in reasons)
    with pytest.raises(UserError, match=r"interventions\.layers\[0\]: layer 0 cannot be ablated"):
        check({**LEAST, "activations": {"layers": [0, 2]}, "interventions": {"layers": [0, 2]}})
    with pytest.raises(UserError, match=r"search\.seeds: "):
        check({**LEAST, "search": {"seeds": []}})


def test_doses_are_of_selected_neurons(project: Path) -> None:
    some = {**LEAST, "interventions": {"selections": ["random_matched", "ntp"]}}
    check(some)
    assert with_defaults(some)["interventions"]["dose_selections"] == ["random_matched"]
    assert with_defaults(LEAST)["interventions"]["dose_selections"] == ["value", "random_matched"]
    dosed = {"selections": ["value"], "dose_selections": ["ntp"]}
    check({**LEAST, "interventions": dosed})  # at no layer
    with pytest.raises(UserError, match=r"dose_selections\[0\]: ntp is not in interventions\.selections"):
        check({**LEAST, "interventions": {**dosed, "layers": [1], "dose_layers": [1]}})
