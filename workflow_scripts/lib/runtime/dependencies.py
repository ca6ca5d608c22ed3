"""What a job's result depends on besides its data: the code it imports, the libraries it runs with, the model it loads.

Snakemake cannot detect these by itself. The rules pass them as inputs (code) and as parameters (libraries, models), so
that a change reruns exactly what it affects. Everything here is light, because it runs at every start of Snakemake.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TypeGuard

from workflow_scripts.lib.storage.files import model_files

PACKAGE = "workflow_scripts"
CATALOGUES = {
    "selections": f"{PACKAGE}/lib/neurons/catalogue.py",
    "search_methods": f"{PACKAGE}/lib/search/methods.py",
    "scorers": f"{PACKAGE}/lib/search/scorers.py",
    "confidence_methods": f"{PACKAGE}/lib/confidence/methods.py",
    "answer_types": f"{PACKAGE}/lib/grading/grade.py",
    "record_readers": f"{PACKAGE}/lib/problems/readers.py",
    "targets": f"{PACKAGE}/lib/probes/targets.py",
}
"""Modules with a table `CATALOGUE`, of which a job reads some rows. They are not inputs of a rule: their code with the
rows that the job uses is a parameter (`rows` in rules/common.smk), so that a new row reruns only what it adds."""
BLOCK, BLOCKS = 2**16, 256
Used = tuple[tuple[str, frozenset[str]], ...]
"""The rows that a job uses, by catalogue. It may use every row of a catalogue that is not named."""


@cache
def modules(rule: str, used: Used = ()) -> list[str]:
    """List the project files that a rule depends on: its module and all that it imports, except catalogues.

    What only unused rows import does not count.

    Raises:
        FileNotFoundError: there is no module of that name.
    """
    return [path for path in imported(rule, used) if path not in CATALOGUES.values()]


@cache
def catalogues_of(rule: str) -> list[str]:
    """List the catalogues that a rule's module imports, directly or not, by name."""
    files = imported(rule)
    return [name for name, path in CATALOGUES.items() if path in files]


@cache
def used_code(name: str, used: Used = ()) -> str:
    """Hash the code of a catalogue with its used rows; comments and layout count for nothing."""
    tree = parsed(CATALOGUES[name], dict(used).get(name))
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:16]


def parsed(path: str, rows: frozenset[str] | None = None) -> ast.Module:
    """Parse a module; of a catalogue, only these rows, and no private function that only other rows use."""
    tree = ast.parse(Path(path).read_text(), path)
    if rows is None:
        return tree
    for table in [node.value for node in tree.body if isinstance(node, ast.Assign) and is_catalogue(node)]:
        assert isinstance(table, ast.Dict)
        pairs = zip(table.keys, table.values, strict=True)
        kept = [(key, value) for key, value in pairs if key and ast.literal_eval(key) in rows]
        table.keys, table.values = [key for key, _ in kept], [value for _, value in kept]
    named = {node: names_in(node) for node in tree.body}
    while unused := [node for node in named if is_private(node) and not is_used(node, named)]:
        named = {node: names for node, names in named.items() if node not in unused}
    tree.body = list(named)
    return tree


def is_catalogue(node: ast.Assign) -> bool:
    """Say whether a statement is the table of a catalogue."""
    return ast.unparse(node.targets[0]) == "CATALOGUE"


def is_private(node: ast.stmt) -> TypeGuard[ast.FunctionDef]:
    """Say whether a statement defines a function that no other module may use."""
    return isinstance(node, ast.FunctionDef) and node.name.startswith("_")


def names_in(node: ast.AST) -> frozenset[str]:
    """Collect the names that a statement uses."""
    return frozenset(inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name))


def is_used(function: ast.FunctionDef, named: Mapping[ast.stmt, frozenset[str]]) -> bool:
    """Say whether another statement of a module names a function; `named` holds the names in each."""
    return any(function.name in names for node, names in named.items() if node is not function)


def imported(rule: str, used: Used = ()) -> list[str]:
    """List the files of the module `workflow_scripts.<rule>` and of all project files that it imports, indirectly too.

    Computed from the import statements, lazy ones included, so that no rule can forget one. The `__init__.py` of every
    parent package is included, because Python reads it.

    Raises:
        FileNotFoundError: there is no module of that name.
    """
    rows = {CATALOGUES[name]: some for name, some in used}
    seen: set[str] = set()
    waiting = [f"{PACKAGE}/{rule}.py"]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting.extend(str(folder / "__init__.py") for folder in list(Path(path).parents)[:-1])
            waiting.extend(imported_files(path, rows.get(path)))
    return sorted(seen)


@cache
def imported_files(path: str, rows: frozenset[str] | None = None) -> tuple[str, ...]:
    """List the files of the package that one file's import statements name, of a catalogue those that `rows` need."""
    names = imported_names(parsed(path, rows))
    files = (f"{name.replace('.', '/')}.py" for name in names if name.split(".")[0] == PACKAGE)
    return tuple(file for file in files if Path(file).is_file())


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Yield dotted names of imported modules; for `from a import b` both `a` and `a.b`, because b may be either."""
    for node in statements(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements inside a node, however deep; expressions, most of a tree, hold none."""
    for part in ("body", "handlers", "orelse", "finalbody", "cases"):
        for inner in getattr(node, part, []):
            yield inner
            yield from statements(inner)


@cache
def pins(*names: str, lock: str = "envs/run.txt") -> str:
    """Return the pinned versions of the named libraries, such as `torch==2.13.0`.

    A rule names the libraries that compute its numbers; a new version of any other library reruns nothing.

    Raises:
        KeyError: the lock file does not pin one of them.
    """
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", Path(lock).read_text(), flags=re.MULTILINE))
    return " ".join(f"{name}=={pinned[name]}" for name in names)


@cache
def model_identity(path: str) -> str:
    """Return a SHA-256 over names and contents of a local model folder, or the name of a hub model.

    The revision of a hub model is a parameter too. Content counts, not modification time, so that a fresh checkout
    reruns nothing. Files larger than 16 MiB are sampled (size and 256 evenly spaced blocks of 64 KiB), so that a start
    of Snakemake stays fast; training changes weights everywhere. After editing single weights of a large model by hand,
    set another `revision`.
    """
    if not Path(path).is_dir():
        return path
    digest = hashlib.sha256()
    for file in model_files(path):
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        digest.update(sampled(file))
    return digest.hexdigest()


def sampled(path: Path) -> bytes:
    """Return the SHA-256 of a file, or of 256 evenly spaced blocks if it is larger than these."""
    size, digest = path.stat().st_size, hashlib.sha256()
    last = max(size - BLOCK, 0)
    with path.open("rb") as file:
        for number in range(BLOCKS):
            file.seek(number * BLOCK if size <= BLOCK * BLOCKS else last * number // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
    return digest.digest()
