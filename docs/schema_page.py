"""Sphinx extension that lists every key of the configuration's schema on the page `configuration`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.yaml"
PAGE = "configuration"
KINDS = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "null": "null"}
BOUNDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}

Schema = dict[str, Any]


def setup(app: Sphinx) -> Schema:
    """Add the reference to its page whenever Sphinx reads that."""
    app.connect("source-read", append_reference)
    return {"parallel_read_safe": True}


def append_reference(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the reference to the text of its page."""
    if page == PAGE:
        for path in (SCHEMA, Path(__file__)):
            app.env.note_dependency(path)
        source[0] += reference(yaml.safe_load(SCHEMA.read_text(encoding="utf-8")))


def reference(schema: Schema) -> str:
    """Write the reference as MyST Markdown: a heading for each section, and below it each key as a term."""
    definitions = schema["$defs"]
    lines: list[str] = []
    for name, section in schema["properties"].items():
        lines += ["", f"## `{name}`", "", *described(resolved(section, definitions), definitions, name in required(schema))]
        for key, inner, needed in keys(section, name, definitions):
            first, *rest = described(inner, definitions, needed)
            lines += ["", f"`{key}`", f": {first}", *(f"  {line}" if line else "" for line in rest)]
    return "\n".join([*lines, ""])


def keys(schema: Schema, name: str, definitions: Schema) -> Iterator[tuple[str, Schema, bool]]:
    """Yield every key below a schema: its dotted name, its schema, and whether it is required."""
    schema = resolved(schema, definitions)
    for key, inner in schema.get("properties", {}).items():
        yield f"{name}.{key}", resolved(inner, definitions), key in required(schema)
        yield from keys(inner, f"{name}.{key}", definitions)
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        yield f"{name}.<name>", resolved(others, definitions), False
        yield from keys(others, f"{name}.<name>", definitions)
    for choice in schema.get("oneOf", []):
        yield from keys(choice, name, definitions)


def resolved(schema: Schema, definitions: Schema) -> Schema:
    """Return a schema with what its `$ref` stands for; what is beside the `$ref` comes first."""
    if "$ref" not in schema:
        return schema
    target = definitions[schema["$ref"].removeprefix("#/$defs/")]
    return {**resolved(target, definitions), **{key: value for key, value in schema.items() if key != "$ref"}}


def required(schema: Schema) -> list[str]:
    """Return the names of the keys that have to be there."""
    names: list[str] = schema.get("required", [])
    return names


def described(schema: Schema, definitions: Schema, needed: bool) -> list[str]:
    """Return the lines on one key: what it may be, its default, and its description."""
    facts = [kind(schema, definitions)]
    if "default" in schema and schema["default"] != {}:
        facts.append(f"default {value(schema['default'])}")
    elif needed:
        facts.append("required")
    items = resolved(schema.get("items", {}), definitions).get("description")
    text = " ".join(schema.get("description", "").split())
    return [f"*{'; '.join(facts)}*", "", *([text] if text else []), *(["", f"Each item: {items}"] if items else [])]


def kind(schema: Schema, definitions: Schema) -> str:
    """Say what a value may be: its type, its bounds and the allowed values."""
    schema = resolved(schema, definitions)
    if "enum" in schema:
        return f"one of {', '.join(map(value, schema['enum']))}"
    if "oneOf" in schema:
        return " or ".join(kind(choice, definitions) for choice in schema["oneOf"])
    names = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    return " or ".join(one_kind(name, schema, definitions) for name in names)


def one_kind(name: str, schema: Schema, definitions: Schema) -> str:
    """Say what a value of one JSON type may be."""
    if name == "null":
        return "null"
    if name == "object":
        return "mapping of names" if isinstance(schema.get("additionalProperties"), dict) else "mapping of the keys below"
    if name == "array":
        return array(schema, definitions)
    limits = [f"{words} {schema[bound]}" for bound, words in BOUNDS.items() if bound in schema]
    limits += [f"a multiple of {schema['multipleOf']}"] if "multipleOf" in schema else []
    limits += [f"pattern `{schema['pattern']}`"] if "pattern" in schema else []
    limits += ["not empty"] if schema.get("minLength") else []
    return ", ".join([KINDS[name], *limits])


def array(schema: Schema, definitions: Schema) -> str:
    """Say what a list may hold."""
    limits = [f"at least {schema['minItems']}"] if schema.get("minItems") else []
    limits += ["no item twice"] if schema.get("uniqueItems") else []
    return ", ".join([f"list, each item {kind(schema['items'], definitions)}", *limits])


def value(data: Any) -> str:
    """Write a value as it stands in YAML."""
    text = yaml.safe_dump(data, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{text}`"
