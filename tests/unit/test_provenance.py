"""What jobs depend on: code found by imports, pinned libraries, models by content."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workflow_scripts.lib.runtime.dependencies import (
    BLOCK,
    BLOCKS,
    CATALOGUES,
    catalogues_of,
    model_identity,
    modules,
    pins,
)

RULES = sorted(
    rule
    for file in Path("rules").glob("*.smk")
    for rule in re.findall(r"python -m workflow_scripts\.(\w+) ", file.read_text())
)
LIST_IMPORTED = """
import importlib, json, sys
def ours():
    return [name for name in sys.modules if name.split(".")[0] == "workflow_scripts"]
found = {}
for rule in sys.argv[1:]:
    for name in ours():  # of the rule before; libraries stay, so that each is imported once
        del sys.modules[name]
    importlib.import_module(f"workflow_scripts.{rule}")
    found[rule] = [sys.modules[name].__file__ for name in ours()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def loaded() -> dict[str, list[str]]:
    """The files of the project that Python loads for each rule."""
    done = subprocess.run([sys.executable, "-c", LIST_IMPORTED, *RULES], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("rule", RULES)
def test_every_module_that_python_loads_for_a_rule_is_found(rule: str, loaded: dict[str, list[str]]) -> None:
    files = {str(Path(path).relative_to(Path.cwd())) for path in loaded[rule]}
    assert f"workflow_scripts/{rule}.py" in files
    assert files <= {*modules(rule), *CATALOGUES.values()}


@pytest.mark.parametrize("rule", [rule for rule in RULES if catalogues_of(rule)])
def test_rules_that_read_a_catalogue_have_its_rows_as_a_parameter(rule: str) -> None:
    rules = "".join(file.read_text() for file in Path("rules").glob("*.smk"))
    users = len(re.findall(rf'code=modules\("{rule}"', rules))
    assert users == 1 + (rule == "train_dopamine_probes")  # two rules run it
    assert re.search(rf'rows=rows\("{rule}"', rules)


def test_catalogues_import_nothing_of_the_project_and_nothing_heavy() -> None:
    light = {"collections.abc", "dataclasses", "typing"}
    for name in ("selections", "search_methods", "confidence_methods"):  # rules and plan read these themselves
        path = CATALOGUES[name]
        tree = ast.walk(ast.parse(Path(path).read_text()))
        assert {node.module for node in tree if isinstance(node, ast.ImportFrom)} <= light, path


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_declares_its_own_code_log_and_benchmark(rule: str) -> None:
    files = [file.read_text() for file in Path("rules").glob("*.smk")]
    body = next(text.split(f"rule {rule}:")[1].split("\nrule ")[0] for text in files if f"rule {rule}:" in text)
    assert re.search(rf'code=modules\("{rule}"[,)]', body)
    assert f"python -m workflow_scripts.{rule} " in body
    assert re.search(rf'^ +f?"(results|{{OUT}})/logs/{rule}', body, flags=re.MULTILINE)
    assert re.search(rf'^ +f?"(results|{{OUT}})/benchmarks/{rule}', body, flags=re.MULTILINE)
    for directive in ("threads:", "mem_mb=", "runtime=", "gpu=", "conda:", '"""'):
        assert directive in body


def test_a_rule_made_from_another_writes_where_no_other_does() -> None:
    """What it does not state it takes over: its code, and therefore the versions, but no file of its own."""
    made = [
        part
        for file in sorted(Path("rules").glob("*.smk"))
        for part in re.findall(r"^use rule (?:.+\n(?:(?: .*)?\n)*)", file.read_text(), flags=re.MULTILINE)
    ]
    assert len(made) == 4
    for text in made:
        original, name = re.findall(r"^use rule (\w+) as (\w+) with:", text)[0]
        assert f'"results/logs/{name}/' in text and f'"results/benchmarks/{name}/' in text
        assert "    output:\n" in text and "settings=" in text and "versions=" not in text
        assert "code=" not in text or f'code=modules("{original}")' in text


def test_imports_are_followed_through_other_modules_and_into_functions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {
        "workflow_scripts/__init__.py": "",
        "workflow_scripts/lib/__init__.py": "",
        "workflow_scripts/act.py": "import os\nfrom workflow_scripts.lib.first import one\n",
        "workflow_scripts/lib/first/__init__.py": "",
        "workflow_scripts/lib/first/one.py": "def f():\n    from workflow_scripts.lib.second.two import g\n",
        "workflow_scripts/lib/second/__init__.py": "from workflow_scripts.lib import ground\n",
        "workflow_scripts/lib/second/two.py": "import workflow_scripts.lib.first.one\n",
        "workflow_scripts/lib/ground.py": "",
        "workflow_scripts/lib/second/unused.py": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    from workflow_scripts.lib.runtime import dependencies

    dependencies.imported_files.cache_clear()
    try:
        assert dependencies.modules("act") == sorted(set(sources) - {"workflow_scripts/lib/second/unused.py"})
    finally:
        dependencies.imported_files.cache_clear()


def test_pins_are_read_from_the_lock_file(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("# note\ntorch==2.13.0\nmath-verify==0.9.0\n")
    assert pins("math-verify", "torch", lock=str(lock)) == "math-verify==0.9.0 torch==2.13.0"
    with pytest.raises(KeyError):
        pins("tensorflow", lock=str(lock))


def identity(folder: Path) -> str:
    model_identity.cache_clear()
    return model_identity(str(folder))


def test_a_model_is_known_by_content_and_not_by_time(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    before = identity(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 100)
    (tmp_path / "README.md").write_text("a card")
    assert identity(tmp_path) == before
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 99 + b"\1")
    assert identity(tmp_path) != before


@pytest.mark.parametrize("place", [0, -1])
def test_a_large_model_file_is_sampled_from_end_to_end(tmp_path: Path, place: int) -> None:
    content = bytearray(BLOCK * BLOCKS + BLOCK * 10)
    (tmp_path / "model.safetensors").write_bytes(content)
    before = identity(tmp_path)
    content[place] = 1
    (tmp_path / "model.safetensors").write_bytes(content)
    assert identity(tmp_path) != before


def test_every_byte_of_a_file_that_is_not_large_counts(tmp_path: Path) -> None:
    content = bytearray(BLOCK * 5 + 17)
    (tmp_path / "model.safetensors").write_bytes(content)
    seen = {identity(tmp_path)}
    for place in range(0, len(content), BLOCK - 1):
        content[place] = 1
        (tmp_path / "model.safetensors").write_bytes(content)
        seen.add(identity(tmp_path))
    assert len(seen) == 1 + len(range(0, len(content), BLOCK - 1))


def test_a_hub_model_is_known_by_its_name() -> None:
    assert model_identity("owner/name") == "owner/name"
