"""The packages of the library are in the order that CONTRIBUTING lists: no circle, no import that climbs."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPTS = Path("workflow_scripts")
LIBRARY = SCRIPTS / "lib"
LISTED = re.findall(r"^\d+\. `(\w+)`: ", Path("CONTRIBUTING.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
RANKS = {name: rank for rank, name in enumerate(LISTED)}


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every module of the project that a file imports, lazily or for types alone too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names if alias.name.startswith("workflow_scripts"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            if node.module and node.module.startswith("workflow_scripts"):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def package_of(name: str) -> str | None:
    """The package that a dotted name of the library belongs to; None for a ground module."""
    parts = name.split(".")
    found = parts[2] if parts[:2] == ["workflow_scripts", "lib"] and len(parts) > 2 else None
    return found if found in RANKS else None


def climbing(path: Path) -> list[str]:
    """Imports of a file of the library that go against the order."""
    own = path.relative_to(LIBRARY).parts[0] if path.parent != LIBRARY else None
    wrong = []
    for line, name in imports(path):
        assert name.startswith("workflow_scripts.lib."), f"{path}:{line}: the library imports the script {name}"
        other = package_of(name)
        if other is not None and (own is None or RANKS[other] > RANKS[own]):
            wrong.append(f"{path}:{line}: {name}")
    return wrong


def test_the_list_names_every_package() -> None:
    assert sorted(LISTED) == sorted(path.name for path in LIBRARY.iterdir() if (path / "__init__.py").is_file())
    assert len(LISTED) == len(set(LISTED)) >= 18
    ground = {path.stem for path in LIBRARY.glob("*.py")} - {"__init__"}
    assert ground == {"errors", "formatting", "progress", "seeds"}


def test_no_import_climbs() -> None:
    assert [wrong for path in sorted(LIBRARY.rglob("*.py")) for wrong in climbing(path)] == []


def test_an_import_that_climbs_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / LIBRARY / "storage" / "sly.py"
    target.parent.mkdir(parents=True)
    target.write_text("def f():\n    from workflow_scripts.lib.report import parts\n    return parts\n")
    monkeypatch.chdir(tmp_path)
    assert climbing(target.relative_to(tmp_path)) == [f"{LIBRARY}/storage/sly.py:2: workflow_scripts.lib.report.parts"]


def test_no_script_imports_a_script() -> None:
    wrong = [
        f"{path}:{line}: {name}"
        for path in sorted(SCRIPTS.glob("*.py"))
        for line, name in imports(path)
        if not name.startswith("workflow_scripts.lib")
    ]
    assert wrong == []


SLOW = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(f"workflow_scripts.{name}")
assert "transformers" not in sys.modules
from workflow_scripts.lib.models.load import import_transformers
import_transformers()
from transformers import AutoModelForCausalLM, AutoTokenizer
assert "sklearn" not in sys.modules
import sklearn.metrics
"""


def test_transformers_is_imported_late_and_without_what_no_job_needs() -> None:
    """A job with a model waits for both; only confidence uses scikit-learn, only training must have a model at once."""
    apart = re.compile("train_base_model|finetune_|write_model_card|predict_confidence|__init__")
    names = [path.stem for path in SCRIPTS.glob("*.py") if not apart.match(path.stem)]
    done = subprocess.run([sys.executable, "-c", SLOW, *names], capture_output=True, text=True)
    assert len(names) > 30 and done.returncode == 0, done.stderr


def test_packages_run_nothing_when_they_are_imported() -> None:
    """An empty `__init__` keeps a light module light, whatever heavy ones lie beside it."""
    assert [str(path) for path in LIBRARY.glob("*/__init__.py") if path.read_text().strip()] == []


def test_scripts_are_thin() -> None:
    lengths = sorted(len(path.read_text().splitlines()) for path in SCRIPTS.glob("*.py") if path.stem != "__init__")
    assert lengths[len(lengths) // 2] <= 90
    assert lengths[-1] <= 160
