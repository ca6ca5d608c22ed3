"""A small configuration in order, and the folder that it is checked in."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from workflow_scripts.lib.config.study import SCHEMA

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

LEAST: dict[str, Any] = {key: CONFIG[key] for key in ("models", "datasets", "rollouts")}


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
    """The configuration with one key set (or removed, for `...`)."""
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
