"""What the README shows works: configurations validate, files and commands exist."""

import json
import re
from pathlib import Path

import pytest
import yaml

from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.config.study import SCHEMA
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.grade import CATALOGUE as ANSWER_TYPES

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```yaml\n(.*?)```", README, flags=re.S)
CATALOGUE = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["models"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the schema, a data file, and a folder for every model, as a reader of the README would have."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / SCHEMA).write_text((ROOT / SCHEMA).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    for entry in {**CATALOGUE, **yaml.safe_load(SNIPPETS[0])["models"]}.values():
        folder = tmp_path / entry["path"]
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"num_hidden_layers": 6, "hidden_size": 192}')
        for name in ("model.safetensors", "tokenizer.json"):
            (folder / name).touch()
    (tmp_path / "data").mkdir()
    records = [{"id": str(i), "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(500)]
    (tmp_path / "data/mine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_configurations_in_the_readme_are_in_order(project: Path, snippet: str) -> None:
    (project / "mine.yaml").write_text(snippet, encoding="utf-8")
    read_study(["mine.yaml"])
    (project / "over.yaml").write_text("value_probes: { targets: td }", encoding="utf-8")
    with pytest.raises(UserError, match=r"^over\.yaml: value_probes\.targets: "):
        read_study(["mine.yaml", "over.yaml"])


def test_there_are_configurations_to_try() -> None:
    assert len(SNIPPETS) == 3


def test_answer_types_in_the_readme_exist() -> None:
    table = README.partition("| answer type |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)`", table, flags=re.M)
    assert named and set(named) <= set(ANSWER_TYPES)


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.S) + re.findall(r"`(make [^`]+)`", README)
    named = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(blocks)))
    assert {"run", "test"} <= named
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))


def test_folders_and_files_in_the_readme_exist() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", README.partition("## What is where")[2], flags=re.M)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)} - {"results/"}
    named |= set(re.findall(r"\]\(([\w./-]+)\)", README))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
