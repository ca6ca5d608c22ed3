"""Reading problems from a file: every malformed record is one line that says where it is and what to do.

Light imports only: the check of the configuration reads the records too.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError

DEFAULT_FIELDS: dict[str, str | None] = {"id": None, "question": "question", "gold": "answer"}
ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")


@dataclass(frozen=True)
class Record:
    """One problem as the file has it; `place` is `line 3` or `row 3`."""

    problem_id: str
    question: str
    gold: str
    place: str


def read_records(path: str | Path, fields: Mapping[str, str | None] | None = None, prefix: str = "") -> list[Record]:
    """Read all problems of a .jsonl, .jsonl.gz or .parquet file.

    Args:
        path: the file; blank lines of a .jsonl are skipped but counted.
        fields: which field holds the `id`, the `question`, the `gold` answer. Without an id the records are numbered.
        prefix: what numbered ids begin with; by default the file's name.

    Raises:
        UserError: the file cannot be read; a record is not an object, lacks a field, has an empty or non-text one, or
            repeats an id or a question.
    """
    path = Path(path)
    names = DEFAULT_FIELDS | dict(fields or {})
    prefix = prefix or path.name.split(".")[0]
    records: list[Record] = []
    ids: dict[str, str] = {}
    questions: dict[str, str] = {}
    for place, raw in _raw_records(path, names):
        record = _record(f"{path}: {place}", place, raw, names, f"{prefix}-{len(records):06d}")
        for seen, key, what in ((ids, record.problem_id, "id"), (questions, record.question.strip(), "question")):
            if key in seen:
                raise UserError(f"{path}: {place}: same {what} as {seen[key]} ({key[:60]!r}); remove one of the two")
            seen[key] = place
        records.append(record)
    if not records:
        raise UserError(f"{path}: holds no records; give a file with at least one problem")
    return records


def _raw_records(path: Path, names: Mapping[str, str | None]) -> Iterator[tuple[str, Any]]:
    if not path.is_file():
        raise UserError(f"{path}: no such file; correct the path (it is relative to the project's folder)")
    if not path.name.endswith(ENDINGS):
        raise UserError(f"{path}: unknown kind of file; use one of {', '.join(ENDINGS)}")
    return _parquet_rows(path, names) if path.suffix == ".parquet" else _json_lines(path)


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"line {number}", json.loads(line.decode())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged after line {number} ({error}); fetch the file again") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: line {number}: not UTF-8; convert the file") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: line {number}: not valid JSON ({error.msg}, column {error.colno}); mend or remove the line"
        ) from error


def _parquet_rows(path: Path, names: Mapping[str, str | None]) -> Iterator[tuple[str, Any]]:
    import polars as pl

    try:
        present = pl.read_parquet_schema(path)
        wanted = [name for name in names.values() if name is not None and name in present]
        rows = pl.read_parquet(path, columns=wanted).to_dicts()
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); fetch the file again") from error
    return ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _record(where: str, place: str, raw: Any, names: Mapping[str, str | None], numbered: str) -> Record:
    if not isinstance(raw, dict):
        raise UserError(f"{where}: not a JSON object; write one object with named fields per line")
    question = _text(where, raw, names, "question")
    gold = _text(where, raw, names, "gold")
    return Record(_text(where, raw, names, "id") if names["id"] else numbered, question, gold, place)


def _text(where: str, raw: dict[str, Any], names: Mapping[str, str | None], role: str) -> str:
    name = names[role]
    if name not in raw:
        advice = f"add it, or set the data set's fields.{role} to one of {', '.join(map(str, raw))}"
        raise UserError(f"{where}: no field {name!r} (the {role}); {advice}")
    value = raw[name]
    allowed = str if role == "question" else (str, int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise UserError(f"{where}: field {name!r} (the {role}) is {type(value).__name__}, not text; mend the record")
    if not str(value).strip():
        raise UserError(f"{where}: field {name!r} (the {role}) is empty; fill it or remove the record")
    return str(value)
