"""Faults in a configuration: the right file, key and remedy, in one line."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow_scripts import check_config as command
from workflow_scripts.lib.config.check import check
from workflow_scripts.lib.config.study import SCHEMA, with_defaults
from workflow_scripts.lib.errors import UserError, run_main

CONFIG: dict[str, Any] = {
    "models": {"m": {"path": "models/m"}},
    "datasets": {"d": {"source": "file", "path": "data/d.jsonl", "n_problems": 2}},
    "rollouts": {"runs": ["m/d"]},
    "values": {"runs": ["m/d"]},
    "activations": {"layers": [0, 1, 2]},
    "value_probes": {"runs": ["m/d"]},
    "dopamine_probes": {"runs": ["m/d"]},
    "figures": {"fig1": {"runs": ["m/d"], "layers": [1]}},
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the schema, a model of two layers and a data set of two problems; the working directory."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / SCHEMA).write_text(SCHEMA.read_text())
    (tmp_path / "models/m").mkdir(parents=True)
    (tmp_path / "models/m/config.json").write_text('{"num_hidden_layers": 2, "hidden_size": 8}')
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / "models/m" / name).touch()
    (tmp_path / "data").mkdir()
    records = [{"question": "one plus one", "answer": "2"}, {"question": "one plus two", "answer": "3"}]
    (tmp_path / "data/d.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def changed(path: str, value: Any) -> dict[str, Any]:
    """The configuration with one key set (or taken away, for `...`)."""
    config = copy.deepcopy(CONFIG)
    *parents, last = path.split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    if value is ...:
        section.pop(last, None)
    else:
        section[last] = value
    return config


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
    ("rollouts.runs", ["m"], "rollouts.runs[0]: 'm' is not written as it must be; "),
    ("rollouts.runs", [], "rollouts.runs: is empty"),
    ("rollouts.runs", ["m/d", "m/d"], "rollouts.runs: lists something twice; take one away"),
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
    ("value_probes.hidden", True, "value_probes.hidden: True is not a whole number"),
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
    ("models.A", {"path": "a/b"}, "models.A: is no name for files; use lower-case letters"),
    ("datasets.d.path", "data/e.jsonl", "datasets.d.path: data/e.jsonl: no such file; correct the path"),
    ("datasets.d.path", None, "datasets.d.source: file wants a path; add path"),
    ("datasets.d.source", "reference", "datasets.d.source: reference wants a task; add task"),
    ("transfer.families", [["m", "n"]], "transfer.families[0][1]: models has no entry n; known are m"),
    ("confidence.layers", [1, 3], "confidence.layers[1]: layer 3 is not in activations.layers; add it there"),
    (
        "search",
        {"runs": ["m/d"], "methods": ["random"], "layer": 3},
        "search.layer: layer 3 is not in activations.layers; add it there",
    ),
    ("search.reference", "n", "search.reference: models has no entry n; known are m"),
    ("search.reference", "m", "search.reference: m would be scored against itself; name the model it was made from"),
    ("search.reference", ..., "search.reference: implicit_prm wants the model to score against; name it, or drop"),
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
        check(config, ["config.yaml"])
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


def test_a_damaged_model_folder_is_named(project: Path) -> None:
    Path("models/m/config.json").write_text("{")
    with pytest.raises(UserError, match=r"models/m/config.json"):
        check(CONFIG)


def test_the_overlay_that_holds_the_key_is_named(project: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    Path("over.yaml").write_text("pruning: {ratios: [0.0, 1.2]}\n")
    with pytest.raises(SystemExit, match=r"error: over\.yaml: pruning\.ratios\[1\]: 1\.2"):
        run_main(lambda: command.main(["config.yaml", "over.yaml"]))


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
    assert filled["search"]["runs"] == filled["interventions"]["runs"] == filled["figures"]["dose"]["runs"] == []
    assert (filled["confidence"]["layers"], filled["search"]["layer"]) == ([0, 1, 2], 2)
    only_values = with_defaults(changed("dopamine_probes.runs", []))
    assert only_values["trajectories"]["runs"] == [] and only_values["figures"]["fig1"]["runs"] == ["m/d"]
    assert with_defaults(filled) == filled


def test_a_missing_folder_of_the_model_that_search_scores_against_is_named(project: Path) -> None:
    config = changed("search", {"runs": ["m/d"], "reference": "other"})
    config["models"]["other"] = {"path": "models/absent"}
    with pytest.raises(UserError, match=r"models\.other\.path: models/absent: no such folder"):
        check(config)
