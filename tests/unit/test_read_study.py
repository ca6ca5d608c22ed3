"""How a study is read from its files: their form, what is laid over what, and the study's name."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.small_project import CONFIG, LEAST, changed
from tests.unit.small_project import project as project
from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.config.study import with_defaults
from workflow_scripts.lib.errors import UserError


def study(text: str, *files: str) -> dict[str, Any]:
    Path("mine.yaml").write_text(text)
    return read_study([*files, "mine.yaml"])


@pytest.mark.parametrize("named", [[], ["config.yaml"]])
def test_a_study_that_names_its_runs_keeps_no_choice_of_those_below(project: Path, named: list[str]) -> None:
    lower = changed("figures.fig5", {"runs": ["m/d"], "layers": [1]}) | {
        "interventions": {"runs": ["m/d"], "layers": [1], "dose_layers": [1], "draws": 2},
        "transfer": {"families": [["m", "n"]]},
        "confidence": {"layers": [1], "folds": 3},
        "search": {"runs": ["m/d"], "reference": "n", "layer": 1, "candidates": 2},
        "trajectories": {"layer": 1, "ablated_layers": []},
        "pruning": {"bootstrap": 7},
    }
    lower["models"] = {**lower["models"], "n": lower["models"]["m"]}
    Path("config.yaml").write_text(yaml.safe_dump(lower))
    text = "datasets: {e: {source: file, path: data/d.jsonl, n_problems: 2}}\nrollouts: {runs: [m/e]}\n"
    found = study(text, *named)
    assert found == with_defaults(
        {**LEAST, "study": "mine", "models": lower["models"]}
        | {"datasets": {**CONFIG["datasets"], **yaml.safe_load(text)["datasets"]}}
        | {"rollouts": {"runs": ["m/e"]}, "interventions": {"draws": 2}, "confidence": {"folds": 3}}
        | {"search": {"candidates": 2}, "pruning": {"bootstrap": 7}}
    )
    stages = ("values", "value_probes", "dopamine_probes", "interventions", "search", "trajectories", "confidence")
    assert all(found[stage]["runs"] == ["m/e"] for stage in stages)
    assert study("values: {n_continuations: 4}", *named)["figures"]["fig5"] == {"runs": ["m/d"], "layers": [1]}


def test_a_study_never_has_the_name_of_the_default_one(project: Path) -> None:
    """Its results would overwrite those; without a name of its own, it has that of its file."""
    Path("config.yaml").write_text(yaml.safe_dump({**CONFIG, "study": "default"}))
    Path("below.yaml").write_text("study: below\n")
    assert read_study()["study"] == read_study(["config.yaml"])["study"] == "default"
    assert study("values: {seed: 1}\n")["study"] == study("rollouts: {runs: [m/d]}\n")["study"] == "mine"
    assert study("study: own\n")["study"] == "own"
    assert study("values: {seed: 1}\n", "below.yaml")["study"] == "below"
    for said in ("said", "default"):  # on the command line, on purpose
        assert read_study(["mine.yaml"], {"study": said})["study"] == said
    with pytest.raises(UserError, match=r"^mine\.yaml: study: default is the study of config\.yaml; give this one"):
        study("study: default\n")
    for name in ("My own Study.yaml", "-.yaml"):
        Path(name).write_text("values: {seed: 1}\n")
    assert read_study(["My own Study.yaml"])["study"] == "my-own-study"
    with pytest.raises(UserError, match=r"^-\.yaml: study: is missing, .* add `study: NAME`$"):
        read_study(["-.yaml"])
    Path("default.yaml").write_text("values: {seed: 1}\n")
    with pytest.raises(UserError, match=r"^default\.yaml: study: default is the study of config\.yaml"):
        read_study(["default.yaml"])


def test_an_override_that_names_runs_is_a_study_too(project: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(changed("models.n", CONFIG["models"]["m"])))
    found = read_study((), {"rollouts": {"runs": ["n/d"]}})
    assert found["values"]["runs"] == found["figures"]["fig1"]["runs"] == ["n/d"]
    with pytest.raises(UserError, match=r"^--config: rollouts\.runs\[0\]: x/d: models has no entry x"):
        read_study((), {"rollouts": {"runs": ["x/d"]}})


UNREADABLE = {
    "- a\n": "mine.yaml: is a list, not a mapping; write `key: value`, as in config.yaml",
    "text\n": "mine.yaml: is a single value, not a mapping; write `key: value`",
    "": "mine.yaml: is empty; write the keys of the study into it, or leave the file out",
    "# a note\n": "mine.yaml: is empty",
    "study: a\nstudy: b\n": "mine.yaml: line 2: key study is given twice in one mapping; remove one of the two",
    "values:\n  seed: 1\n  gamma: 1\n  seed: 2\n": "mine.yaml: line 4: key seed is given twice in one mapping",
    "pruning: {seed: 1, seed: 1}\n": "mine.yaml: line 1: key seed is given twice in one mapping",
    '{"study": "a",\n "study": "b"}': "mine.yaml: line 2: key study is given twice in one mapping",
    '{"values": {"gamma": NaN}}': "mine.yaml: values.gamma: nan is not a finite number",
    "values: {gamma: .nan}\n": "mine.yaml: values.gamma: nan is not a finite number",
    "values: &v\n  adaptive: *v\n": "mine.yaml: an anchor holds itself; write its values out where they are used",
    "study: a\n---\nstudy: b\n": "mine.yaml: line 2: not YAML (but found another document); fix the line",
    "1: a\n": "mine.yaml: 1: unknown key",
    "rollouts: [m/d]\n": "mine.yaml: rollouts: ['m/d'] is not a mapping",
    "study: 2020-01-01\n": "mine.yaml: study: 2020-01-01 is not text; put it in quotes",
    "about: a\nstudy: 2020-13-45\n": "mine.yaml: line 2: '2020-13-45' cannot be read as timestamp; correct it",
    "study: !!int 'x'\n": "mine.yaml: line 1: 'x' cannot be read as int; correct it, or put it in quotes",
    "study: !!int ''\n": "mine.yaml: line 1: '' cannot be read as int",
    "study: !!float x\n": "mine.yaml: line 1: 'x' cannot be read as float",
    "study: !!bool x\n": "mine.yaml: line 1: 'x' cannot be read as bool",
    "study: !!timestamp x\n": "mine.yaml: line 1: 'x' cannot be read as timestamp",
    "study: !!python/name:os.system ''\n": "mine.yaml: line 1: not YAML (could not determine a constructor",
    "values: {seed: 010}\n": "mine.yaml: line 1: 010 would be read to another base than 10; correct it, or put it in",
    "values: {seed: 1:30}\n": "mine.yaml: line 1: 1:30 would be read to another base than 10",
    "values: {seed: " + 5001 * "1" + "}\n": "mine.yaml: line 1: a whole number of 5001 digits is too long; correct it",
    "values: {seed: 0x" + 5001 * "f" + "}\n": "mine.yaml: line 1: a whole number of 5003 digits is too long",
    '{"values":\n{"seed": ' + 5001 * "1" + "}}": "mine.yaml: line 2: a whole number of 5001 digits is too long",
    "about: " + 300 * "[" + 300 * "]": "mine.yaml: is nested too deeply; write it as flat as config.yaml",
    '{"about": ' + 300 * "[" + 300 * "]" + "}": "mine.yaml: is nested too deeply; write it as flat as config.yaml",
    "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"{b}: &{b} [{','.join(10 * [f'*{a}'])}]\n" for a, b in pairwise("abcdefg")): (
        "mine.yaml: holds more than 100,000 values; write only what a study needs"
    ),
    '{"about": "\\ud800"}': "mine.yaml: about: '\\ud800' holds a zero byte or half a character; take it out",
    "about: [" + 5000 * "x" + "]\n": "mine.yaml: about: ['" + 75 * "x" + "... is not text or null",
    "study: a\0b\n": "mine.yaml: not YAML (special characters are not allowed); fix the line",
    "study: " + 5000 * "[": "mine.yaml: is nested too deeply",
}


@pytest.mark.parametrize("text", UNREADABLE, ids=[text[:20] for text in UNREADABLE])
def test_a_file_that_is_no_study_is_one_line(project: Path, text: str) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    with pytest.raises(UserError) as caught:
        study(text)
    assert str(caught.value).startswith(UNREADABLE[text]) and "\n" not in str(caught.value)


def test_a_folder_and_a_binary_file_are_no_studies(project: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    Path("mine.yaml").write_bytes(b"study: \xff\xfe")
    with pytest.raises(UserError, match=r"^mine\.yaml: is not text in UTF-8; check the path, or save"):
        read_study(["mine.yaml"])
    with pytest.raises(UserError, match=r"^data: cannot be read \(Is a directory\); check the path"):
        read_study(["data"])
    for name in ("", "a\0b"):
        with pytest.raises(UserError, match=r"^'.*' is no name of a file; name a study, or none for"):
            read_study([name])
    with pytest.raises(UserError, match=r"^a{77}\.\.\.: cannot be read \(File name too long\)"):
        read_study([5000 * "a"])
    with pytest.raises(UserError, match=r"No such file.*\(taken as 2 files, there is no none\.yaml\)$"):
        read_study(["config.yaml none.yaml"])


def test_anchors_and_merged_keys_work(project: Path) -> None:
    Path("config.yaml").write_text(yaml.safe_dump(CONFIG))
    text = "value_probes: &probes {hidden: 3, epochs: 2, runs: &runs [m/d]}\n"
    text += "dopamine_probes: {<<: *probes, epochs: 4, runs: *runs}\nvalues: {runs: *runs}\n"
    found = study(text)
    assert (found["dopamine_probes"]["hidden"], found["dopamine_probes"]["epochs"]) == (3, 4)
