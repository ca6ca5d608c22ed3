"""Read plain data from YAML or JSON files, with one line for whatever is wrong with a file."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.lib.errors import UserError, clip, shown

DEEPEST, MOST = 50, 100_000
"""Levels and values of a configuration; more is a mistake, or anchors that multiply each other."""
LONGEST = 100
"""Digits of a whole number; Python takes long to read more, and refuses to print many more."""
OTHER_BASE = re.compile(r"[-+]?(0[0-9_]+|[0-9][0-9_]*(:[0-9]+)+)")
"""What YAML reads as a number to the base 8 or 60, which nobody means."""


class Loader(yaml.SafeLoader):
    """Plain data; a mapping that gives a key twice is refused, whatever its depth, and so is what cannot be read."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Compose a mapping and look at its keys, before keys that `<<` brings join them."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                told = f"key {clip(key.value)} is given twice in one mapping; remove one of the two"
                raise yaml.MarkedYAMLError(problem=told, problem_mark=key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen.add((key.tag, key.value))
        return node

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        """Construct a value; YAML's own functions fail in many ways on text that is none of its tag."""
        if not isinstance(node, yaml.ScalarNode):
            return super().construct_object(node, deep)
        try:
            if node.tag.endswith(":int"):
                check_digits(node.value)
            return super().construct_object(node, deep)
        except yaml.YAMLError:
            raise
        except Exception as error:
            wrong = f"{shown(node.value)} cannot be read as {node.tag.rpartition(':')[2]}"
            told = f"{error if isinstance(error, NoNumber) else wrong}; correct it, or put it in quotes if it is text"
            raise yaml.MarkedYAMLError(problem=told, problem_mark=node.start_mark) from error


class NoNumber(ValueError):
    """Digits that are read as another number than they look like, or are too many."""


def check_digits(text: str) -> None:
    """Refuse digits that YAML would read to another base than 10, and too many of them.

    Raises:
        NoNumber: they are such digits.
    """
    if len(text) > LONGEST:
        raise NoNumber(f"a whole number of {len(text)} digits is too long")
    if OTHER_BASE.fullmatch(text):
        raise NoNumber(f"{text} would be read to another base than 10")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object; one that gives a key twice is left to the YAML loader, which names the line."""
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def whole(text: str) -> int:
    """Read a whole number of JSON; one that is too long is left to the YAML loader, which names the line."""
    check_digits(text)
    return int(text)


def parse(text: str) -> Any:
    """Parse JSON or YAML. JSON comes first, as in Snakemake: YAML would read its 1e-05 as text."""
    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=whole)
    except ValueError:
        return yaml.load(text, Loader)


def read_yaml(path: str | Path) -> Any:
    """Parse a YAML or JSON file.

    Raises:
        UserError: it does not exist, is no text, is not YAML, gives a key twice, or holds something to execute.
    """
    name = clip(str(path))
    try:
        data = parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror}); check the path{absent_words(path)}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: is not text in UTF-8; check the path, or save the file as UTF-8") from error
    except yaml.YAMLError as error:
        raise UserError(f"{name}: {told(error)}") from error
    except RecursionError as error:
        raise UserError(f"{name}: is nested too deeply; write it as flat as config.yaml") from error
    if fault := misshapen(data):
        raise UserError(f"{name}: {fault}")
    if isinstance(data, dict) and "__use_yte__" in data:  # Snakemake would evaluate expressions in it as Python
        raise UserError(f"{name}: __use_yte__: configurations are plain data; write its values out")
    return data


def absent_words(path: str | Path) -> str:
    """Name the words of a path with spaces that are no files either: several files may be meant."""
    words = str(path).split()
    absent = [word for word in words if not Path(word).exists()] if len(words) > 1 else []
    return f" (taken as {len(words)} files, there is no {' and no '.join(absent)})" if absent else ""


def told(error: yaml.YAMLError) -> str:
    """Say line, fault and remedy of text that is not YAML."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or type(error).__name__
    fault = problem if ";" in problem else f"not YAML ({problem}); fix the line"
    return f"line {mark.line + 1}: {fault}" if mark else fault


def misshapen(data: Any) -> str | None:
    """Say why data are too deep or too many to go through, as anchors can make them, or hold themselves."""
    waiting: list[tuple[Any, tuple[int, ...]]] = [(data, ())]
    count = 0
    while waiting:
        item, above = waiting.pop()
        count += 1
        if not isinstance(item, (dict, list)):
            continue
        if id(item) in above:
            return "an anchor holds itself; write its values out where they are used"
        if len(above) >= DEEPEST:
            return "is nested too deeply; write it as flat as config.yaml"
        if count + len(item) > MOST:
            return f"holds more than {MOST:,} values; write only what a study needs"
        inner = item.values() if isinstance(item, dict) else item
        waiting += [(one, (*above, id(item))) for one in inner]
    return None
