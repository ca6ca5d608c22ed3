"""A registration freezes what decides verdicts, and every later difference is named."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow_scripts import register_study
from workflow_scripts.lib.claims import registration
from workflow_scripts.lib.claims.registration import deviations, hash_of, read
from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.errors import UserError

CLAIMS = yaml.safe_load(Path("resources/published/claims.yaml").read_text(encoding="utf-8"))["claims"]


@pytest.fixture
def frozen() -> dict[str, Any]:
    return registration.registration(read_study(["studies/paper.yaml"]), CLAIMS)


def test_nothing_deviates_from_itself_and_sizes_do_not_count(frozen: dict[str, Any]) -> None:
    assert deviations(frozen, registration.registration(read_study(["studies/paper.yaml"]), CLAIMS)) == []
    assert "size" not in json.dumps(frozen["configuration"]["models"]["simplerl-7b"])
    assert frozen["hash"] == hash_of(frozen) and {"torch", "scipy"} <= set(frozen["versions"])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("claims", "value_read", "margin"), 0.51),
        (("claims", "value_read", "layers"), [2, 3]),
        (("claims", "value_specific", "against"), ["ntp"]),
        (("configuration", "value_probes", "seeds"), [7, 8, 9]),
        (("configuration", "datasets", "math500", "n_problems"), 400),
        (("versions", "scipy"), "0.0.1"),
        (("code", "claims/decide.py"), "0"),
        (("tests", "value_final"), "Anything goes."),
    ],
)
def test_every_deviation_is_named(frozen: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    now = copy.deepcopy(frozen)
    parent = now
    for key in place[:-1]:
        parent = parent[key]
    before = parent[place[-1]]
    parent[place[-1]] = value
    (found,) = deviations(frozen, now)
    assert found.startswith(f"{'.'.join(place)}: ") and json.dumps(value) in found
    del parent[place[-1]]
    (gone,) = deviations(frozen, now)
    assert gone.endswith("now nothing")
    assert json.dumps(before)[:20] in gone


def test_a_file_that_was_changed_is_refused(frozen: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    path.write_text(json.dumps(frozen))
    assert read(path) == frozen
    path.write_text(json.dumps(frozen | {"study": "another"}))
    with pytest.raises(UserError, match="changed after it was made"):
        read(path)
    for text in ("[]", "{", '{"hash": 1}'):
        path.write_text(text)
        with pytest.raises(UserError, match=r"study\.json"):
            read(path)


def test_a_study_is_registered_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(register_study, "FOLDER", tmp_path)
    register_study.main(["studies/quick.yaml"])
    first = (tmp_path / "quick.json").read_bytes()
    register_study.main(["studies/quick.yaml"])
    assert (tmp_path / "quick.json").read_bytes() == first
    other = tmp_path / "quick.yaml"
    other.write_text(Path("studies/quick.yaml").read_text() + "\nsplit: { seed: 1 }\n")
    with pytest.raises(UserError, match=r"quick\.json: the study is registered with other content"):
        register_study.main([str(other)])


def test_results_that_were_there_are_named_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read_study(["studies/quick.yaml"])
    for name in ("envs/run.txt", "results/studies/quick/tables/claims.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("scipy==1\n")
    monkeypatch.chdir(tmp_path)
    seen = registration.results_of(config)
    assert [str(path) for path in seen] == ["results/studies/quick/tables/claims.csv"]
    (told,) = deviations(registration.registration(config, CLAIMS, seen), registration.registration(config, CLAIMS))
    assert told == "registered when results were there: results/studies/quick/tables/claims.csv"
    assert registration.results_of(config | {"study": "another"}) == []


def test_a_study_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workflow_scripts.register_study", "studies/nowhere.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "nowhere.yaml" in done.stderr
