"""What the README and the pages of `docs/` show works: configurations validate, files and commands exist."""

import json
import re
from pathlib import Path

import pytest
import yaml

from tests.documents import DOCUMENTS, GUIDES, ROOT, blocks, name, text
from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.config.study import SCHEMA
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.grade import CATALOGUE as ANSWER_TYPES

SNIPPETS = [(name(path), snippet) for path in GUIDES for snippet in blocks(path, "yaml")]
CATALOGUE = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))["models"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the schema, a data file, and a folder for every model, as a reader would have."""
    (tmp_path / "schemas").mkdir()
    (tmp_path / SCHEMA).write_text((ROOT / SCHEMA).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "config.yaml").write_text((ROOT / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    shown = [yaml.safe_load(snippet).get("models", {}) for _, snippet in SNIPPETS]
    for path in {entry["path"] for models in [CATALOGUE, *shown] for entry in models.values()}:
        folder = tmp_path / path
        folder.mkdir(parents=True)
        (folder / "config.json").write_text('{"num_hidden_layers": 6, "hidden_size": 192}')
        for file in ("model.safetensors", "tokenizer.json"):
            (folder / file).touch()
    (tmp_path / "data").mkdir()
    records = [{"id": str(i), "question": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(500)]
    (tmp_path / "data/mine.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("document", "snippet"), SNIPPETS)
def test_configurations_that_are_shown_are_in_order(project: Path, document: str, snippet: str) -> None:
    (project / "mine.yaml").write_text(snippet, encoding="utf-8")
    read_study(["mine.yaml"])
    (project / "over.yaml").write_text("value_probes: { targets: td }", encoding="utf-8")
    with pytest.raises(UserError, match=r"^over\.yaml: value_probes\.targets: "):
        read_study(["mine.yaml", "over.yaml"])


def test_there_are_configurations_to_try() -> None:
    assert [document for document, _ in SNIPPETS] == ["README.md", "config/README.md", *["docs/own-data.md"] * 3]


def test_a_model_of_ones_own_takes_ten_lines() -> None:
    (snippet,) = blocks(ROOT / "README.md", "yaml")
    assert len(snippet.splitlines()) <= 10


def test_answer_types_that_are_shown_exist() -> None:
    table = text(ROOT / "docs/own-data.md").partition("| answer type |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, flags=re.M)) == set(ANSWER_TYPES)


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_make_targets_that_are_shown_exist(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = [*blocks(path, "bash"), *re.findall(r"`(make [^`]+)`", text(path))]
    named = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(shown)))
    assert named <= set(re.findall(r"^([a-z-]+):", makefile, flags=re.M))
    assert name(path) != "README.md" or {"run", "test", "docs"} <= named


def test_every_command_of_make_is_described_for_contributors() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    described = set(re.findall(r"`make ([a-z-]+)`", text(ROOT / "CONTRIBUTING.md")))
    assert set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.M)) <= described | {"help"}


def test_folders_and_studies_that_are_listed_exist() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", text(ROOT / "docs/index.md").partition("## What is where")[2], flags=re.M)
    named = {name for row in rows for name in re.findall(r"`([^`]+)`", row)} - {"results/"}
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
    table = text(ROOT / "docs/own-data.md").partition("## Studies that ship")[2]
    studies = ["config.yaml", *(name(path) for path in (ROOT / "studies").glob("*.yaml"))]
    assert sorted(re.findall(r"^\| `(\S+)` \|", table, flags=re.M)) == sorted(studies)
