"""Problems from records: the meaning of fields, the text of a question, and what the grader needs besides the answer.

The same adapter serves files and the hub. The needs of every answer type are here in one place.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from workflow_scripts.lib.errors import UserError, clip, shown
from workflow_scripts.lib.grading.answers import last_boxed, parse_integer
from workflow_scripts.lib.problems.records import Place, file_records, hub_records, take, take_list, take_text

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """One problem; `spec`: JSON of what its grader needs besides the answer; `place`: where the record is."""

    problem_id: str
    question: str
    gold: str
    spec: str | None
    place: Place


def read_problems(dataset: Mapping[str, Any], file: str | None = None) -> list[Problem]:
    """Read all problems of an entry of `datasets`, in order.

    `dataset` has the keys of the configuration, and `key`, its name there; `file` is read in place of its path.

    Raises:
        UserError: the records cannot be read, are too few, or one of them is malformed or repeats another.
    """
    where = str(file or dataset["path"])
    if dataset["source"] == "hub":
        records = hub_records(where, dataset["subset"], dataset["hub_split"], dataset["revision"])
    else:
        records = file_records(where, dataset["sha256"])
    problems = adapt(records, dataset)
    if not problems:
        raise UserError(f"{where}: contains no records; give a file with at least one problem")
    if len(problems) < dataset["n_problems"]:
        raise UserError(
            f"{where}: contains {len(problems)} records, but datasets.{dataset['key']}.n_problems asks for "
            f"{dataset['n_problems']}; lower it or add records"
        )
    return problems


def adapt(records: Iterable[tuple[Place, Any]], dataset: Mapping[str, Any]) -> list[Problem]:
    """Convert each record to a problem.

    Raises:
        UserError: a record is malformed, or repeats an id or a question.
    """
    fields, answer = dataset["fields"], dataset["answer"]
    problems: list[Problem] = []
    ids: dict[str, Place] = {}
    questions: dict[str, Place] = {}
    for place, record in records:
        question = take_text(place, record, fields["question"], "question")
        question, gold, spec = CATALOGUE[answer](place, record, fields, question, dataset["gold_in"])
        named = take_text(place, record, fields["id"], "id", numbers=True) if fields["id"] else None
        problem = Problem(named or f"{dataset['key']}-{len(problems):06d}", question, gold, spec, place)
        for seen, key, what in ((ids, problem.problem_id, "id"), (questions, question.strip(), "question")):
            if key in seen:
                other = seen[key].rpartition(": ")[2]
                raise UserError(f"{place}: same {what} as {other} ({key[:60]!r}); remove one of the two")
            seen[key] = place
        problems.append(problem)
    return problems


def content(problems: Iterable[Problem]) -> str:
    """Return the SHA-256 of the problems' content: ids, questions, correct answers, and what their graders need."""
    digest = hashlib.sha256()
    for problem in problems:
        digest.update((json.dumps(astuple(problem)[:4]) + "\n").encode())
    return digest.hexdigest()


def _plain(place: Place, record: Any, fields: Fields, question: str, gold_in: str) -> tuple[str, str, None]:
    return question, _gold(place, take_text(place, record, fields["gold"], "gold", numbers=True), gold_in), None


def _integer(place: Place, record: Any, fields: Fields, question: str, gold_in: str) -> tuple[str, str, None]:
    question, gold, _ = _plain(place, record, fields, question, gold_in)
    if parse_integer(gold) is None:
        advice = "set the data set's answer to math or fix the record"
        raise UserError(f"{place}: correct answer {shown(gold)} is not an integer; {advice}")
    return question, gold, None


def _gold(place: Place, text: str, gold_in: str) -> str:
    if gold_in == "whole":
        return text
    gold = last_boxed(text) if gold_in == "last_box" else text.rpartition("####")[2] if "####" in text else None
    if gold is None or not gold.strip():
        sign = "box" if gold_in == "last_box" else "####"
        raise UserError(f"{place}: no {sign} in the correct answer; fix the record, or set gold_in to whole")
    return gold.strip()


def _choice(place: Place, record: Any, fields: Fields, question: str, gold_in: str) -> tuple[str, str, str]:
    """Add the options below the question as lines of label and text, with the authors' labels."""
    gold = take_text(place, record, fields["gold"], "gold", numbers=True).strip()
    options = _options(place, take(place, record, fields["choices"], "choices"))
    if gold not in options:
        raise UserError(
            f"{place}: correct answer {shown(gold)} is none of the labels {clip(', '.join(options))}; fix the record"
        )
    lines = [question, *(f"{label}. {text}" for label, text in options.items())]
    return "\n".join(lines), gold, json.dumps(options)


def _options(place: Place, raw: Any) -> dict[str, str]:
    pairs: list[tuple[Any, Any]] = []
    if isinstance(raw, Mapping):
        labels, texts = raw.get("label"), raw.get("text")
        if isinstance(labels, list) and isinstance(texts, list) and len(labels) == len(texts):
            pairs = list(zip(labels, texts, strict=True))
    elif isinstance(raw, list) and all(isinstance(option, Mapping) for option in raw):
        pairs = [(option.get("label"), option.get("text")) for option in raw]
    options = {str(label).strip(): str(text).strip() for label, text in pairs if _written(label) and _written(text)}
    if len(options) < 2 or len(options) != len(pairs):
        raise UserError(f"{place}: its choices are not two or more distinct labels with texts; fix the record")
    return options


def _written(value: Any) -> bool:
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return False
    return isinstance(value, (str, int, float)) and str(value).strip() != ""


def _code(place: Place, record: Any, fields: Fields, question: str, gold_in: str) -> tuple[str, str, str]:
    calls: list[Any] = []
    for field in fields["inputs"]:
        inputs = take(place, record, field, "inputs")
        if inputs not in ({}, None):  # one list of the original file is written as an empty object
            calls += take_list(place, record, field, "inputs")
    if not calls or not all(isinstance(call, list) for call in calls):
        raise UserError(f"{place}: its inputs are not lists of arguments, one or more; fix the record")
    spec = {
        "entry_point": take_text(place, record, fields["entry_point"], "entry_point"),
        "calls": calls,
        "tolerance": _tolerance(place, record, fields["tolerance"]),
        "example": take_text(place, record, fields["example"], "example"),
    }
    return question, take_text(place, record, fields["gold"], "gold"), json.dumps(spec)


def _tolerance(place: Place, record: Any, field: str) -> float:
    text = take_text(place, record, field, "tolerance", numbers=True)
    try:
        tolerance = float(text)
    except ValueError:
        tolerance = math.nan
    if not 0 <= tolerance < math.inf:
        fault = f"field {field!r} (the tolerance) is {shown(text)}, not a number of at least 0"
        raise UserError(f"{place}: {fault}; fix the record")
    return tolerance


def _instructions(place: Place, record: Any, fields: Fields, question: str, gold_in: str) -> tuple[str, str, str]:
    """Read instructions; there is no correct answer, so their ids replace it."""
    ids = take_list(place, record, fields["instructions"], "instructions")
    arguments = take_list(place, record, fields["arguments"], "arguments")
    if not ids or len(ids) != len(arguments):
        raise UserError(f"{place}: {len(ids)} instructions with {len(arguments)} arguments; fix the record")
    if not all(isinstance(one, str) and one.strip() for one in ids):
        raise UserError(f"{place}: its instructions are not all ids, which are text; fix the record")
    if not all(values is None or isinstance(values, Mapping) for values in arguments):
        raise UserError(f"{place}: its arguments are not all mappings, or null for none; fix the record")
    given = [{k: v for k, v in (values or {}).items() if v is not None} for values in arguments]  # the hub adds nulls
    if not all(math.isfinite(v) for values in given for v in values.values() if isinstance(v, float)):
        raise UserError(f"{place}: its arguments hold a number that is not finite; fix the record")
    return question, ", ".join(ids), json.dumps({"ids": ids, "arguments": given, "prompt": question})


CATALOGUE = {
    "boxed_integer": _integer,
    "math": _plain,
    "choice": _choice,
    "code": _code,
    "instructions": _instructions,
}
