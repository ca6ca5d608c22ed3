"""Style, types and rules, checked by the tools that `make lint` runs."""

import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(sys.executable).parent
CODE = ["workflow_scripts", "tests", "benchmarks", "envs", "docs"]
RULES = ["Snakefile", "workflow/Snakefile", *map(str, sorted(Path("rules").glob("*.smk")))]
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


def prose(path: Path) -> list[tuple[int, str]]:
    """Lines of prose with their numbers: Markdown except code and tables, comments, and all of the schema."""
    lines, code = [], False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = path.suffix == ".md" and line.startswith("```")
        code ^= fence
        text = line.lstrip()
        plain = not (code or fence or text.startswith("|")) if path.suffix == ".md" else text.startswith("#")
        if plain or "schemas" in path.parts:
            lines.append((number, line))
    return lines


def test_lines_of_prose_have_at_most_120_characters() -> None:
    written = [path for folder in ("rules", "schemas", "studies", "profiles") for path in Path(folder).rglob("*.*")]
    written += [path for folder in (".", "benchmarks", "envs", "docs", "config") for path in Path(folder).glob("*.*")]
    written += [*Path("resources/plan").glob("*"), *Path("resources/published").glob("*")]
    kinds = (".md", ".yaml", ".smk", ".in", ".toml")
    paths = [*(path for path in written if path.suffix in kinds), Path("Snakefile"), Path("Makefile")]
    assert len(paths) > 30
    long = [f"{path}:{number}" for path in paths for number, line in prose(path) if len(line) > 120]
    assert long == []
