"""The schema is the reference: complete, true to itself, and in step with the code that reads the configuration."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from jsonschema import Draft202012Validator

from workflow_scripts.lib.config import sections
from workflow_scripts.lib.config.plain import read_yaml
from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.config.schema import fill
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.config.study import SCHEMA, with_defaults
from workflow_scripts.lib.engines.start import ENGINES
from workflow_scripts.lib.grading.grade import CATALOGUE as ANSWER_TYPES
from workflow_scripts.lib.models.load import DTYPES, INSTRUCTION, ModelConfig
from workflow_scripts.lib.neurons.catalogue import CATALOGUE as SELECTIONS
from workflow_scripts.lib.neurons.catalogue import MODES
from workflow_scripts.lib.probes.targets import CATALOGUE as TARGETS
from workflow_scripts.lib.reference.tasks import TASKS
from workflow_scripts.lib.search.methods import METHODS

REFERENCE = read_yaml(SCHEMA)


def keys(schema: dict[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Every key under a schema: its dotted name, its own schema, and whether it is required."""
    for key, inner in schema.get("properties", {}).items():
        yield f"{name}{key}", inner, key in schema.get("required", [])
        yield from keys(inner, f"{name}{key}.")
    others = schema.get("additionalProperties")
    if isinstance(others, dict):
        yield from keys(others, f"{name}*.")


ALL = [*keys(REFERENCE), *keys(REFERENCE["$defs"]["figure"], "figures.*.")]


@pytest.mark.parametrize(("name", "inner", "required"), ALL, ids=[name for name, _, _ in ALL])
def test_every_key_has_a_description_and_a_default_or_is_required(name: str, inner: Any, required: bool) -> None:
    assert len(inner["description"]) > 5
    assert ("default" in inner) != (required or name in ("models", "datasets"))


def rules_of(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema inside a schema."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from rules_of(inner)


def test_every_integer_has_bounds_and_every_pattern_is_said_in_words() -> None:
    integers = [rule for rule in rules_of(REFERENCE) if "integer" in str(rule.get("type", ""))]
    assert len(integers) > 50 and all({"minimum", "maximum"} <= set(rule) for rule in integers)
    patterns = [rule for rule in rules_of(REFERENCE) if isinstance(rule.get("pattern"), str)]
    assert len(patterns) > 4 and all("write" in rule for rule in patterns)
    assert not any(rule["pattern"].endswith("$") and "(?!\\n)$" not in rule["pattern"] for rule in patterns)


def test_the_defaults_pass_their_own_schema() -> None:
    least = {
        "models": {"m": {"path": "p"}},
        "datasets": {"d": {"source": "file", "n_problems": 1}},
        "rollouts": {"runs": ["m/d"]},
    }
    Draft202012Validator.check_schema(REFERENCE)
    assert list(Draft202012Validator(REFERENCE).iter_errors(fill(least, REFERENCE))) == []


SECTIONS = {name: kind for name, kind in get_type_hints(sections.Params).items() if isinstance(kind, type)}


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_section_classes_have_the_keys_of_the_schema(name: str) -> None:
    if name == "dataset":
        known = {"key", *REFERENCE["properties"]["datasets"]["additionalProperties"]["properties"]}
    else:
        known = set(REFERENCE["properties"][name]["properties"])
    assert set(get_type_hints(SECTIONS[name])) == known


def test_choices_in_the_schema_are_those_of_the_code() -> None:
    entry = REFERENCE["properties"]["datasets"]["additionalProperties"]["properties"]
    model = REFERENCE["properties"]["models"]["additionalProperties"]["properties"]
    assert set(entry["task"]["enum"]) - {None} == set(TASKS)
    assert entry["answer"]["enum"] == list(ANSWER_TYPES)
    assert all(f"`{name}`" in entry["answer"]["description"] for name in ANSWER_TYPES)
    chosen = {section: REFERENCE["properties"][section]["properties"] for section in ("interventions", "search")}
    selections = [chosen["interventions"][key]["items"]["enum"] for key in ("selections", "dose_selections")]
    assert selections == [list(SELECTIONS)] * 2
    assert chosen["interventions"]["mode"]["enum"] == [mode for mode in MODES if mode != "scale"]
    assert chosen["search"]["methods"]["items"]["enum"] == list(METHODS)
    assert REFERENCE["properties"]["value_probes"]["properties"]["target"]["enum"] == list(TARGETS)
    assert set(REFERENCE["properties"]["rollouts"]["properties"]["engine"]["enum"]) == set(ENGINES)
    assert set(model["dtype"]["enum"]) == set(DTYPES)
    assert model["instruction"]["default"] == INSTRUCTION
    assert set(model) == {field.name for field in dataclasses.fields(ModelConfig)} - {"key"} | {"size"}


@pytest.mark.parametrize("study", [None, *sorted(Path("studies").glob("*.yaml"))], ids=str)
def test_the_studies_that_ship_fit_the_schema(study: Path | None) -> None:
    config = read_study([study] if study else [], checked=False)
    assert [error.message for error in Draft202012Validator(REFERENCE).iter_errors(config)] == []


def test_a_key_that_the_rule_did_not_pass_cannot_be_read() -> None:
    params = load('{"rollouts": {"seed": 3}}')
    assert params.rollouts.seed == 3
    with pytest.raises(AttributeError, match="key top_p of Rollouts is not among the parameters"):
        _ = params.rollouts.top_p


def test_a_key_that_no_section_has_is_refused() -> None:
    with pytest.raises(KeyError, match="sead"):
        _ = load('{"rollouts": {"sead": 3}}').rollouts


def test_filling_in_leaves_the_original_alone() -> None:
    original: dict[str, Any] = {"models": {"m": {"path": "p"}}, "datasets": {}, "rollouts": {"runs": []}}
    with_defaults(original)
    assert original == {"models": {"m": {"path": "p"}}, "datasets": {}, "rollouts": {"runs": []}}
