"""Check data against a JSON schema with answers for people (one line: key, fault, remedy), and fill in defaults."""

import copy
import difflib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError

Schema = Mapping[str, Any]
Path = tuple[str | int, ...]

BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
    "multipleOf": "a multiple of",
}
KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "null": "null",
}


def dotted(path: Path) -> str:
    """`("pruning", "ratios", 3)` as `pruning.ratios[3]`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def did_you_mean(word: str, known: list[str]) -> str:
    """A suggestion for a misspelt word, or all that are known."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"


def faults(data: Any, schema: Schema) -> list[tuple[Path, str]]:
    """What is wrong, as (path of the key, sentence); unknown keys first, because a misspelt key causes others."""
    if found := list(not_finite(data)):
        return found
    errors = Draft202012Validator(dict(schema)).iter_errors(data)
    found = [fault for error in errors for fault in explain(error)]
    return sorted(found, key=lambda fault: (not fault[1].startswith("unknown key"), list(map(str, fault[0]))))


def not_finite(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Numbers that no bound can refuse, because they compare with nothing or are beyond everything."""
    if isinstance(data, float) and not math.isfinite(data):
        yield path, f"{data} is not a finite number; write one, or leave the key out"
    elif isinstance(data, (Mapping, list)):
        for key, inner in data.items() if isinstance(data, Mapping) else enumerate(data):
            yield from not_finite(inner, (*path, key if isinstance(key, int) else str(key)))


def explain(error: ValidationError) -> Iterator[tuple[Path, str]]:
    """One schema error as paths and sentences (an unknown key is its own path)."""
    path, value, rule = tuple(error.absolute_path), error.instance, error.validator_value
    kind = str(error.validator)
    if kind == "additionalProperties":
        known = list(error.schema["properties"])
        for key in sorted(map(str, set(value) - set(known))):
            yield (*path, key), f"unknown key; {did_you_mean(key, known)}"
    elif kind in ("oneOf", "anyOf") and error.context:
        yield from explain(max(error.context, key=lambda sub: len(sub.absolute_path)))
    elif "propertyNames" in error.absolute_schema_path:
        yield (*path, str(value)), "is no name for files; use lower-case letters, digits, '_', '-' and '.'"
    else:
        yield path, sentence(kind, value, rule)


def sentence(kind: str, value: Any, rule: Any) -> str:
    """What is wrong with `value` under the schema's keyword `kind`, and what it must be."""
    if kind in BOUNDS:
        return f"{value} is out of range; it must be {BOUNDS[kind]} {rule}"
    if kind == "type":
        wanted = " or ".join(KINDS[name] for name in ([rule] if isinstance(rule, str) else rule))
        hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if is_number_as_text(value) else ""
        return f"{value!r} is not {wanted}{hint}"
    if kind == "enum":
        names = ["null" if name is None else str(name) for name in rule]
        return f"{value} is not known; {did_you_mean(str(value), names)}"
    if kind == "required":
        return f"lacks {', '.join(sorted(set(rule) - set(value)))}; schemas/config.schema.yaml describes it"
    if kind == "pattern":
        return f"{value!r} has the wrong format; schemas/config.schema.yaml describes it"
    if kind == "uniqueItems":
        return "contains a duplicate; remove it"
    return "is empty; schemas/config.schema.yaml describes it"


def is_number_as_text(value: Any) -> bool:
    """Whether `value` is text such as `1e-4`, which looks like a number."""
    try:
        return isinstance(value, str) and float(value) is not None
    except ValueError:
        return False


def fill(data: Any, schema: Schema, root: Schema | None = None) -> Any:
    """A copy of `data` with the schema's defaults where keys are left out; `$ref` is followed inside the schema."""
    root = schema if root is None else root
    if "$ref" in schema:
        target: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **schema, "$ref": None}
        del schema["$ref"]
    if not isinstance(data, Mapping):
        return copy.deepcopy(data)
    properties, others = schema.get("properties", {}), schema.get("additionalProperties")
    filled = {key: fill(value, properties.get(key, others or {}), root) for key, value in data.items()}
    for key, inner in properties.items():
        if key not in filled and "default" in inner:
            filled[key] = fill(inner["default"], inner, root)
    return filled
