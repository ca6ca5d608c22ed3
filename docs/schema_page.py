"""Sphinx extension that lists every key of the configuration's schema on the page `configuration`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from sphinx.application import Sphinx

SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.yaml"
PAGE = "configuration"
KINDS = {"string": "text", "boolean": "true or false"}
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
        schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
        source[0] += reference(resolved(schema["properties"], schema["$defs"]), schema["required"])


def resolved(part: Any, definitions: Schema) -> Any:
    """Return a part of the schema with every `$ref` replaced by what it stands for; what is beside it comes first."""
    if isinstance(part, list):
        return [resolved(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    target = part.get("$ref", "").removeprefix("#/$defs/")
    below = resolved(definitions[target], definitions) if target else {}
    return {**below, **{key: resolved(inner, definitions) for key, inner in part.items() if key != "$ref"}}


def reference(sections: Schema, required: list[str]) -> str:
    """Write the reference as MyST Markdown: a heading for each section, and below it each key as a term."""
    lines: list[str] = []
    for name, section in sections.items():
        lines += ["", f"## `{name}`", "", *described(section, name in required)]
        for key, inner, needed in keys(section, name):
            first, *rest = described(inner, needed)
            lines += ["", f"`{key}`", f": {first}", *(f"  {line}" if line else "" for line in rest)]
    return "\n".join([*lines, ""])


def keys(schema: Schema, name: str) -> Iterator[tuple[str, Schema, bool]]:
    """Yield every key below a schema: its dotted name, its schema, and whether it is required."""
    for key, inner in schema.get("properties", {}).items():
        yield f"{name}.{key}", inner, key in schema.get("required", [])
        yield from keys(inner, f"{name}.{key}")
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        yield f"{name}.<name>", others, False
        yield from keys(others, f"{name}.<name>")
    for choice in schema.get("oneOf", []):
        yield from keys(choice, name)


def described(schema: Schema, needed: bool) -> list[str]:
    """Return the lines on one key: what it may be, its default, and its description."""
    facts = [kind(schema)]
    if "default" in schema and schema["default"] != {}:
        facts.append(f"default {value(schema['default'])}")
    elif needed:
        facts.append("required")
    item = schema.get("items", {}).get("description")
    texts = [" ".join(schema.get("description", "").split()), f"Each item: {item}" if item else ""]
    return [f"*{'; '.join(facts)}*", *(line for text in texts if text for line in ("", text))]


def kind(schema: Schema) -> str:
    """Say what a value may be: its type, its bounds and the allowed values."""
    if "enum" in schema:
        return f"one of {', '.join(map(value, schema['enum']))}"
    if "oneOf" in schema:
        return " or ".join(map(kind, schema["oneOf"]))
    names = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    return " or ".join(one_kind(name, schema) for name in names)


def one_kind(name: str, schema: Schema) -> str:
    """Say what a value of one JSON type may be."""
    if name == "null":
        return "null"
    if name == "object":
        return f"mapping {'of names' if isinstance(schema.get('additionalProperties'), dict) else 'of the keys below'}"
    if name == "array":
        words = [f"list, each item {kind(schema['items'])}"]
        words += [f"at least {schema['minItems']}"] if schema.get("minItems") else []
        return ", ".join([*words, "no item twice"] if schema.get("uniqueItems") else words)
    words = [KINDS.get(name, name), *(f"{words} {schema[bound]}" for bound, words in BOUNDS.items() if bound in schema)]
    words += [f"a multiple of {schema['multipleOf']}"] if "multipleOf" in schema else []
    words += [f"pattern `{schema['pattern']}`"] if "pattern" in schema else []
    return ", ".join([*words, "not empty"] if schema.get("minLength") else words)


def value(data: Any) -> str:
    """Write a value as it is in YAML."""
    text = yaml.safe_dump(data, default_flow_style=True, width=1000).removesuffix("...\n").strip()
    return f"`{text}`"
