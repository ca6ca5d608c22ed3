"""Records of a data set as its authors wrote them, from a file or from the Hugging Face hub, each with its place.

Every error is one line that names the place and what to do. Light imports only, because the check of the configuration
reads files too.
"""

import gzip
import hashlib
import json
import math
import os.path
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError, clip, kind, shown

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")
Place = str
"""`data/mine.jsonl: line 3`, `data/mine.parquet: row 3`, `openai/gsm8k: row 3`."""


def record_files(name: str, dataset: Mapping[str, Any]) -> list[str]:
    """Return the file that a data set is read from, given or fetched, if there is one."""
    if dataset["source"] != "file":
        return []
    if dataset["url"] is None:
        return [str(dataset["path"])]
    return [f"results/fetched/{name}/records{url_ending(dataset['url'])}"]


def shard_identity(dataset: Mapping[str, Any], shard: int) -> str:
    """Return a hash of a shard's source: its lines of a local .jsonl, packed or not; else the whole file.

    So the shards of a growing file stay as they are, and a corrected line affects its own shard only. Empty if other
    parameters determine the content: a task, the hub, an address.
    """
    if dataset["source"] != "file" or dataset["url"] is not None:
        return ""
    path, start = Path(dataset["path"]), shard * dataset["shard_size"]
    stop = min(start + dataset["shard_size"], dataset["n_problems"])
    lines = ["whole", content_sha256(path)] if path.suffix == ".parquet" else line_hashes(path)[start:stop]
    return hashlib.sha256(" ".join(lines).encode()).hexdigest()


@cache
def line_hashes(path: Path) -> list[str]:
    """Return a hash of every line that is not blank, with its number, which error messages name."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        return [hashlib.sha256(b"%d %b" % line).hexdigest() for line in enumerate(file, 1) if line[1].strip()]


def url_ending(url: str) -> str | None:
    """Return the ending of the file at an address; None if such files cannot be read."""
    return next((ending for ending in sorted(ENDINGS, key=len, reverse=True) if url.endswith(ending)), None)


def file_records(path: str | Path, sha256: str | None = None) -> Iterator[tuple[Place, Any]]:
    """Read all records of a .jsonl, .jsonl.gz or .parquet file. Blank lines of a .jsonl are skipped but counted.

    Raises:
        UserError: the file cannot be read, is not of the kind that its name says, or its content has not this `sha256`.
    """
    path = Path(path)
    if not os.path.isfile(path):  # also False for a name that no file can have
        raise UserError(f"{clip(str(path))}: no such file; correct the path (it is relative to the project's folder)")
    if not path.name.endswith(ENDINGS):
        raise UserError(f"{path}: unknown kind of file; use one of {', '.join(ENDINGS)}")
    if sha256 is not None and (actual := content_sha256(path)) != sha256:
        raise UserError(
            f"{path}: its content has SHA-256 {actual}, not {sha256}; fetch the file again or correct sha256"
        )
    return _parquet_rows(path) if path.suffix == ".parquet" else _json_lines(path)


def content_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes, unpacked for a .gz, because packing is not reproducible.

    Raises:
        UserError: the packed file is damaged.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged ({error}); fetch the file again") from error


def _json_lines(path: Path) -> Iterator[tuple[Place, Any]]:
    number = 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if text := line.rstrip():  # a line break would be line 2 to whoever reads the error
                    yield f"{path}: line {number}", _parse(text.decode("utf-8-sig" if number == 1 else "utf-8"))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: damaged after line {number} ({error}); fetch the file again") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: line {number}: not UTF-8; convert the file") from error
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: line {number}: not valid JSON ({error.msg}, column {error.colno}); fix or remove the line"
        ) from error
    except _Refused as error:
        raise UserError(f"{path}: line {number}: {error}") from error
    except ValueError as error:  # Python reads and prints no longer numbers
        raise UserError(f"{path}: line {number}: a whole number of thousands of digits; write it as text") from error
    except RecursionError as error:
        raise UserError(f"{path}: line {number}: nested too deeply; fix or remove the line") from error


class _Refused(ValueError):
    """JSON that Python would read and that means nothing, or two things."""


def _parse(text: str) -> Any:
    record = json.loads(text, object_pairs_hook=_unique)
    if "\\ud" in text.lower():  # perhaps half a character, which no table can hold
        try:
            json.dumps(record, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise _Refused("holds half a character (a lone surrogate); write the whole character") from error
    return record


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for number, key in enumerate(keys) if key in keys[:number])
        raise _Refused(f"field {shown(twice)} is given twice; remove one of the two")
    return found


def _parquet_rows(path: Path) -> Iterator[tuple[Place, Any]]:
    import polars as pl

    try:
        rows = pl.read_parquet(path).to_dicts()
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{path}: not a readable Parquet file ({reason}); fetch the file again") from error
    return ((f"{path}: row {number}", row) for number, row in enumerate(rows, 1))


def hub_records(path: str, subset: str | None, hub_split: str, revision: str | None) -> Iterator[tuple[Place, Any]]:
    """Read all records of one split of a data set on the hub, or of a local folder in the hub's layout.

    Raises:
        UserError: there is no such data set, subset, split or revision, or the hub cannot be reached.
    """
    from datasets import DownloadMode, load_dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:  # downloads may be reused, but not their conversions, because that cache ignores changes of a local file
        fresh = DownloadMode.REUSE_CACHE_IF_EXISTS
        rows = load_dataset(path, name=subset, split=hub_split, revision=revision, download_mode=fresh)
    except Exception as error:  # what the library raises depends on what is missing, and where
        reason = str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
        requested = (
            f"split {hub_split}" + (f" of subset {subset}" if subset else "") + (f" at {revision}" if revision else "")
        )
        raise UserError(f"{path}: {requested} cannot be read ({reason}); check name, revision and network") from error
    return ((f"{path}: row {number}", dict(row)) for number, row in enumerate(rows, 1))


def take(place: Place, record: Any, field: str, role: str) -> Any:
    """Return the value of a field; `a.b` is the field `b` inside the field `a`, unless a field is named `a.b`.

    Raises:
        UserError: the record is no object, or has no such field.
    """
    if not isinstance(record, Mapping):
        raise UserError(f"{place}: not a JSON object; write one object with named fields per line")
    if field in record:
        return record[field]
    value: Any = record
    for key in field.split("."):
        if not isinstance(value, Mapping) or key not in value:
            advice = f"add it, or set the data set's fields.{role} to one of {clip(', '.join(map(str, record)))}"
            raise UserError(f"{place}: no field {field!r} (the {role}); {advice}")
        value = value[key]
    return value


def take_text(place: Place, record: Any, field: str, role: str, numbers: bool = False) -> str:
    """Return the text of a field that must not be empty; with `numbers`, a number is text too.

    Raises:
        UserError: it is missing, empty or of another kind.
    """
    value = take(place, record, field, role)
    if isinstance(value, bool) or not isinstance(value, (str, int, float) if numbers else str):
        raise UserError(f"{place}: field {field!r} (the {role}) is {kind(value)}, not text; fix the record")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{place}: field {field!r} (the {role}) is {value}, not a finite number; fix the record")
    if not str(value).strip():
        raise UserError(f"{place}: field {field!r} (the {role}) is empty; fill it or remove the record")
    return str(value)


def take_list(place: Place, record: Any, field: str, role: str) -> list[Any]:
    """Return the list in a field.

    Raises:
        UserError: it is missing or not a list.
    """
    value = take(place, record, field, role)
    if not isinstance(value, list):
        raise UserError(f"{place}: field {field!r} (the {role}) is {kind(value)}, not a list; fix the record")
    return value
