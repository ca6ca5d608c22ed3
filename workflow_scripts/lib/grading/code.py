"""Programs, graded by running them in a sandbox on the same inputs as a reference program (method, section 2).

Only values leave the sandbox, and they are compared outside: inside there is no verdict to forge and no expected value
to read.
"""

import ast
import json
import re
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading import sandbox_inside
from workflow_scripts.lib.grading.answers import Grade
from workflow_scripts.lib.grading.sandbox import Limits, Outcome, run

FENCE = re.compile(r"```[ \t]*[\w+-]*[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
COMPARED_AS_SETS = {
    "similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum",
    "intersection_array", "find_dissimilar", "Diff",
}  # fmt: skip
"""Functions of MBPP+ with a result without order; EvalPlus compares them as sets too."""
ANY_MATCH = {"check_str", "text_match_three", "text_starta_endb"}
"""Functions of MBPP+ for which a match object counts as True; so it does in EvalPlus."""
FREE = {"are_equivalent": lambda given: True, "sum_div": lambda given: given == 0}
"""Functions of MBPP+ with an unreliable reference program, and what EvalPlus accepts besides its results."""


TOO_LARGE = ("MemoryError", "TooLarge")


def program_of(text: str, entry_point: str) -> str:
    """Return a response's program: the last fenced block that defines the function, all blocks, or the whole text."""
    blocks = FENCE.findall(text)
    defining = [block for block in blocks if re.search(rf"^\s*(?:async\s+)?def\s+{entry_point}\b", block, re.MULTILINE)]
    return defining[-1] if defining else "\n".join(blocks) if blocks else text


def grade_code(text: str, gold: str, spec: str, allow_unsandboxed: bool = False) -> Grade:
    """Grade as correct if the program gives what the reference program `gold` gives, on every call of `spec`.

    Raises:
        UserError: there is no sandbox, or the reference program itself fails.
    """
    task = _task(spec)
    expected, seconds = _expected(gold, spec, allow_unsandboxed)
    program = program_of(text, task["entry_point"])
    limits = Limits(cpu_seconds=5 + ceil(4 * seconds))
    outcome = run(program, task["entry_point"], task["encoded"], limits, allow_unsandboxed)
    if outcome.status == "timeout":
        return Grade(0, program, "timeout")
    if outcome.status == "failed" or len(outcome.given) != len(expected):
        return Grade(0, program, "unparsable")
    compared = zip(decoded(outcome), expected, strict=True)
    correct = all(same(given, value, task) for given, value in compared if not _raised(value))
    return Grade(int(correct), program, None)


@lru_cache(maxsize=64)
def _task(spec: str) -> dict[str, Any]:
    """Read the specification, with the calls encoded for the sandbox and their tuples restored."""
    task = json.loads(spec)
    shapes = example_shapes(task["example"], task["entry_point"])
    calls = [[as_shaped(argument, shape) for argument, shape in _paired(call, shapes)] for call in task["calls"]]
    return {**task, "encoded": [sandbox_inside.encode(call) for call in calls]}


@lru_cache(maxsize=64)
def _expected(gold: str, spec: str, allow_unsandboxed: bool) -> tuple[list[Any], float]:
    """Return what the reference program gives for each call, and its processor time in seconds.

    Calls with a result too large to compare are `raised` and do not count.
    """
    task = _task(spec)
    outcome = run(gold, task["entry_point"], task["encoded"], Limits(cpu_seconds=120), allow_unsandboxed)
    values = decoded(outcome)
    failed = [value["raised"] for value in values if _raised(value)]
    if outcome.status != "done" or len(values) != len(task["calls"]) or any(name not in TOO_LARGE for name in failed):
        reason = next((name for name in failed if name not in TOO_LARGE), outcome.status)
        program = f"the reference program of {task['entry_point']}"
        raise UserError(f"{program} fails on its own inputs ({reason}); fix the record")
    return values, outcome.cpu_seconds


def decoded(outcome: Outcome) -> list[Any]:
    """Decode the values of an outcome; one that cannot be read counts as raised."""
    values = []
    for given in outcome.given:
        try:
            values.append(sandbox_inside.decode(given))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            values.append({"raised": "unreadable"})
    return values


def _raised(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"raised"}


def same(given: Any, expected: Any, task: dict[str, Any]) -> bool:
    """Return whether a result matches the reference program's: equal, or close if numbers are not whole."""
    name, tolerance = task["entry_point"], task["tolerance"]
    if _raised(given):
        return False
    if name in FREE and FREE[name](given):
        return True
    if name in COMPARED_AS_SETS:
        return _as_set(given) == _as_set(expected) is not None
    if name in ANY_MATCH and not isinstance(given, bool):
        return bool(expected) == (given is not None)
    try:
        if given == expected:
            return True
    except (TypeError, ValueError):
        return False
    if tolerance == 0 and _floats(expected):
        tolerance = 1e-6
    if tolerance == 0 or type(given) is not type(expected):
        return False
    try:
        return bool(np.shape(given) == np.shape(expected) and np.allclose(given, expected, rtol=1e-7, atol=tolerance))
    except (TypeError, ValueError):
        return False


def _as_set(value: Any) -> Any:
    try:
        return set(value)
    except TypeError:
        return None


def _floats(value: Any) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return bool(values) and all(isinstance(element, float) for element in values)


CONTAINERS = (list, tuple, set)
Shape = tuple[type, tuple["Shape", ...]]
"""A value's type and the shapes of its elements (of a dictionary, of its values)."""


def shape_of(value: Any) -> Shape:
    """Return the shape of a Python value."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, CONTAINERS) else ()
    return type(value), tuple(map(shape_of, inner))


def example_shapes(example: str, entry_point: str) -> list[list[Shape]]:
    """Return the shapes of the arguments of every call of the function in the example, if they are literals."""
    shapes = []
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == entry_point:
            try:
                shapes.append([shape_of(ast.literal_eval(argument)) for argument in node.args])
            except ValueError:  # an argument that is computed
                continue
    return shapes


def _paired(call: list[Any], shapes: list[list[Shape]]) -> list[tuple[Any, list[Shape]]]:
    """Pair each argument with the shapes that this argument has in the examples."""
    return [(value, [shape[i] for shape in shapes if i < len(shape)]) for i, value in enumerate(call)]


def as_shaped(value: Any, shapes: list[Shape], above: type = list) -> Any:
    """Convert a JSON value to the types of the examples: a list becomes a tuple or set if the examples have only these.

    Deeper than the examples go, lists become what the list `above` them became.
    """
    kinds = {kind for kind, _ in shapes}
    inner = [shape for kind, elements in shapes if kind in (*CONTAINERS, dict) for shape in elements]
    if isinstance(value, dict):
        return {key: as_shaped(element, inner) for key, element in value.items()}
    if isinstance(value, list):
        shown = kinds & set(CONTAINERS)
        kind = (above if above is tuple else list) if not shown else shown.pop() if len(shown) == 1 else list
        return kind(as_shaped(element, inner, kind) for element in value)
    if isinstance(value, str) and kinds and kinds <= {int, float, complex}:
        return number(value)
    return value


def number(text: str) -> Any:
    """Return the number in a text, which JSON could not store or would have rounded; the text itself if it is none."""
    for kind in (float, complex):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
