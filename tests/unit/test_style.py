"""Style, types and rules, checked by the tools that `make lint` runs."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(sys.executable).parent
CODE = ["workflow_scripts", "tests", "benchmarks", "envs"]
RULES = ["Snakefile", *map(str, sorted(Path("rules").glob("*.smk")))]
COMMANDS = {
    "ruff check": ["ruff", "check", *CODE],
    "ruff format": ["ruff", "format", "--check", *CODE],
    "mypy": ["mypy"],
    "snakefmt": ["snakefmt", "--check", *RULES],
    "snakemake lint": ["snakemake", "--lint"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_tool_is_content(name: str) -> None:
    tool, *arguments = COMMANDS[name]
    environment = {"PATH": f"{TOOLS}:/usr/bin:/bin", "HOME": str(Path.home())}
    done = subprocess.run([str(TOOLS / tool), *arguments], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_files_are_as_short_as_agreed() -> None:
    limits = {"Snakefile": 60, "rules/common.smk": 100, "rules/targets.smk": 100}
    limits.update({str(path): 300 for path in Path("workflow_scripts").rglob("*.py")})
    lengths = {path: len(Path(path).read_text().splitlines()) for path in limits}
    assert {path: length for path, length in lengths.items() if length >= limits[path]} == {}
