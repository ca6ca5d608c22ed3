"""Check data against a JSON schema with answers for people (one line: key, fault, remedy), and fill in defaults."""

import copy
import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend

from workflow_scripts.lib.errors import clip, shown

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


COUNTED = {
    "minItems": "at least {} of a list",
    "minLength": "at least {} letters",
    "minProperties": "at least {} entries",
    "maxLength": "at most {} letters",
}
RANKS = {"additionalProperties": 0, "uniqueItems": 2}
"""The order of faults, where it is not 1."""
LARGEST_EXACT = 2**53
"""Up to here a float that is whole is the number that was meant."""


def is_whole(checker: Any, value: Any) -> bool:
    """Return whether a value is a whole number; 5.0, which JSON schema lets pass, fails where Python counts with it."""
    return isinstance(value, int) and not isinstance(value, bool)


Validator = extend(Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine("integer", is_whole))


def dotted(path: Path) -> str:
    """Write `("pruning", "ratios", 3)` as `pruning.ratios[3]`."""
    text = "".join(
        f"[{part}]" if isinstance(part, int) else f".{clip(part) if part.isprintable() else shown(part)}"
        for part in path
    )
    return text.removeprefix(".")


def did_you_mean(word: str, known: list[str]) -> str:
    """Suggest a word for a misspelt one, or name all that are known."""
    close = difflib.get_close_matches(clip(word), known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"known are {', '.join(sorted(known))}"


def faults(data: Any, schema: Schema) -> list[tuple[Path, str]]:
    """Return what is wrong, as (path of the key, sentence).

    Unknown keys come first, because a misspelt key causes others, and duplicates last.
    """
    if found := list(unusable(data)):
        return found
    ranked = [
        (RANKS.get(str(error.validator), 1), fault)
        for error in Validator(dict(schema)).iter_errors(data)
        for fault in explain(error)
    ]
    return [fault for _, fault in sorted(ranked, key=lambda one: (one[0], list(map(str, one[1][0]))))]


def unusable(data: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Yield numbers that no bound can refuse, because they compare with nothing, and text that no file can hold."""
    if isinstance(data, float) and not math.isfinite(data):
        yield path, f"{data} is not a finite number; write one, or leave the key out"
    elif isinstance(data, str) and ("\0" in data or any("\ud800" <= letter <= "\udfff" for letter in data)):
        yield path, f"{shown(data)} holds a zero byte or half a character; take it out"
    elif isinstance(data, (Mapping, list)):
        for key, inner in data.items() if isinstance(data, Mapping) else enumerate(data):
            yield from unusable(inner, (*path, key if isinstance(key, int) else str(key)))


def explain(error: ValidationError) -> Iterator[tuple[Path, str]]:
    """Yield one schema error as paths and sentences (an unknown key is its own path)."""
    path, value, rule = tuple(error.absolute_path), error.instance, error.validator_value
    kind = str(error.validator)
    if kind == "additionalProperties":
        known = list(error.schema["properties"])
        for key in sorted(map(str, set(value) - set(known))):
            yield (*path, key), f"unknown key; {did_you_mean(key, known)}"
    elif kind in ("oneOf", "anyOf") and error.context:
        yield from explain_choice(path, value, error.context)
    elif "propertyNames" in error.absolute_schema_path:
        advice = f"use {error.schema['write']}" if isinstance(value, str) else "put it in quotes"
        yield (*path, str(value)), f"is no name for files; {advice}"
    else:
        yield path, sentence(kind, value, rule, error.schema)


def explain_choice(path: Path, value: Any, tried: list[ValidationError]) -> Iterator[tuple[Path, str]]:
    """Yield why a value fits none of several schemas: all kinds that it may be, or what is wrong furthest inside."""
    if all(error.validator == "type" and tuple(error.absolute_path) == path for error in tried):
        yield path, sentence("type", value, [error.validator_value for error in tried], {})
        return
    yield from explain(max(tried, key=lambda sub: len(sub.absolute_path)))


def sentence(kind: str, value: Any, rule: Any, schema: Schema) -> str:
    """Say what is wrong with `value` under the schema's keyword `kind`, and what it must be."""
    if kind in BOUNDS:
        return f"{shown(value)} is out of range; it must be {BOUNDS[kind]} {rule}"
    if kind == "type":
        return wrong_kind(value, [rule] if isinstance(rule, str) else list(rule))
    if kind == "enum":
        names = ["null" if name is None else str(name) for name in rule]
        word = clip(value) if isinstance(value, str) else shown(value)
        return f"{word} is not known; {did_you_mean(word, names)}"
    if kind == "required":
        return f"lacks {', '.join(sorted(set(rule) - set(value)))}; schemas/config.schema.yaml describes it"
    if kind == "pattern":
        return f"{shown(value)} has the wrong format; write {schema['write']}"
    if kind == "uniqueItems":
        return f"{shown(repeated(value))} is given twice; remove one of the two"
    has = f"has {len(value)}" if value else "is empty"
    return f"{has}, and needs {COUNTED[kind].format(rule)}; schemas/config.schema.yaml describes it"


def wrong_kind(value: Any, kinds: list[str]) -> str:
    """Say that a value is none of the kinds it may be, and what was probably meant."""
    return f"{shown(value)} is not {' or '.join(KINDS[name] for name in kinds)}{meant(value, kinds)}"


def meant(value: Any, kinds: list[str]) -> str:
    """Advise what to write in place of a value of the wrong kind, where that can be guessed."""
    numbers = {"integer", "number"} & set(kinds)
    if isinstance(value, str) and numbers and re.fullmatch(r"[-+]?\d+", clip(value), re.ASCII):
        return f"; write {int(value)}"
    if isinstance(value, str) and "number" in kinds and re.fullmatch(r"[-+]?[\d.]+[eE][-+]?\d+", value):
        return " (YAML reads 1e-4 as text: write 1.0e-4)"
    if isinstance(value, float) and numbers and value.is_integer() and abs(value) < LARGEST_EXACT:
        return f"; write {int(value)}"
    if "string" in kinds and value is not None and not isinstance(value, (list, Mapping)):
        return "; put it in quotes"
    return ""


def repeated(values: list[Any]) -> Any:
    """Return the first value of a list that stands there before."""
    return next(value for number, value in enumerate(values) if value in values[:number])


def fill(data: Any, schema: Schema, root: Schema | None = None) -> Any:
    """Fill in the schema's defaults where `data` leave keys out, in a copy; `$ref` is followed inside the schema."""
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
