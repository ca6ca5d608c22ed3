"""Style, types and rules, checked by the tools that `make lint` runs."""

import ast
import re
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


NOT_VERBS = (
    "A|AUC|Accuracy|All|An|Another|Any|As|At|Axes|Before|Below|Beside|Both|Cell|Claim|Column|Cost|Each|Entry|Error|"
    "Every|Everything|Exactly|Figure|File|First|For|From|Function|Height|How|If|In|It|Its|Legend|Line|Lowest|Mean|"
    "Median|Model|Neuron|No|None|Not|Number|On|Once|One|Only|Own|Part|Path|Position|Random|Response|Root|Row|Several|"
    "Some|Source|Supported|TD|Table|Text|That|The|Their|These|They|This|Those|Three|Title|Token|Two|Value|Variance|"
    "Verdict|Vertical|What|When|Where|Whether|Which|Why|With"
)
"""First words that show a noun phrase or a clause; ruff's D401 knows verbs in other forms, but few nouns."""


def is_imperative(docstring: str) -> bool:
    """Whether the first word can be a verb in the base form: none of `NOT_VERBS`, no plural, no gerund, no code."""
    word = re.split(r"[\s,:]", docstring.strip(), maxsplit=1)[0]
    return bool(re.fullmatch(r"[A-Z][a-z]+", word)) and not re.fullmatch(rf"{NOT_VERBS}|.*[^s]s|.*ing", word)


def described(source: str) -> list[tuple[int, str]]:
    """Line and docstring of every function and method except properties."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    own = [node for node in functions if not any("property" in ast.unparse(one) for one in node.decorator_list)]
    return [(node.lineno, text) for node in own if (text := ast.get_docstring(node))]


@pytest.mark.parametrize(
    "text",
    ["The rows.", "A column.", "Whether it is.", "Rows of a run.", "`0.71`.", "Writing it.", "gamma V.", "Returns it."],
)
def test_other_first_words_are_found(text: str) -> None:
    methods = f'@property\n    def own(self):\n        """Mine."""\n    def of(self):\n        """{text}"""'
    assert described(f"class Some:\n    {methods}") == [(5, text)] and not is_imperative(text)


def test_docstrings_of_functions_are_imperative() -> None:
    paths = [path for folder in ("workflow_scripts", "benchmarks") for path in Path(folder).rglob("*.py")]
    texts = [(f"{path}:{line}", text) for path in paths for line, text in described(path.read_text(encoding="utf-8"))]
    assert len(texts) > 1000 and {"Return", "Draw"} <= {text.split()[0] for _, text in texts}
    assert [f"{place}: {text.splitlines()[0]}" for place, text in texts if not is_imperative(text)] == []


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
