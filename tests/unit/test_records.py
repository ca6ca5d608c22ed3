"""Every malformed record is one line that says where and what to do."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.records import read_records

GOOD: list[dict[str, Any]] = [
    {"question": "1+1?", "answer": "2", "id": "a"},
    {"question": "2+2?", "answer": 4, "id": 7},
]


def write(path: Path, records: list[Any]) -> Path:
    text = "".join(record if isinstance(record, str) else json.dumps(record) + "\n" for record in records)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.parquet"])
def test_the_three_kinds_of_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith("parquet"):
        pl.DataFrame([{**record, "answer": str(record["answer"])} for record in GOOD], strict=False).with_columns(
            pl.Series("id", ["a", "7"])
        ).write_parquet(path)
    else:
        write(path, GOOD)
    fields = {"id": "id", "question": "question", "gold": "answer"}
    found = [(r.problem_id, r.question, r.gold) for r in read_records(path, fields)]
    assert found == [("a", "1+1?", "2"), ("7", "2+2?", "4")]
    assert [r.problem_id for r in read_records(path)] == ["p-000000", "p-000001"]
    assert [r.problem_id for r in read_records(path, prefix="mine")] == ["mine-000000", "mine-000001"]


def test_field_mapping_and_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", ['{"q": "Q1", "a": 1.5}\n', "\n", '{"q": "Q2", "a": "x"}\n'])
    found = read_records(path, {"question": "q", "gold": "a"})
    assert [(r.question, r.gold, r.place) for r in found] == [("Q1", "1.5", "line 1"), ("Q2", "x", "line 3")]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{bad\n", r"line 2: not valid JSON .*column 2\); mend or remove the line"),
        ("[1]\n", "line 2: not a JSON object"),
        ({"answer": 3}, r"line 2: no field 'question' .*fields\.question to one of answer"),
        ({"question": "3+3?"}, r"line 2: no field 'answer' \(the gold\)"),
        ({"question": "  ", "answer": 3}, r"line 2: field 'question' \(the question\) is empty"),
        ({"question": "3+3?", "answer": ""}, r"line 2: field 'answer' \(the gold\) is empty"),
        ({"question": 3, "answer": 3}, "line 2: field 'question' .* is int, not text"),
        ({"question": "3+3?", "answer": None}, "line 2: field 'answer' .* is NoneType, not text"),
        ({"question": "3+3?", "answer": True}, "line 2: field 'answer' .* is bool, not text"),
        ({"question": "1+1? ", "answer": 3}, "line 2: same question as line 1 .*remove one"),
    ],
)
def test_malformed_records(tmp_path: Path, second: Any, message: str) -> None:
    path = write(tmp_path / "p.jsonl", [GOOD[0], second])
    with pytest.raises(UserError, match=message) as caught:
        read_records(path)
    assert str(caught.value).startswith(str(path))


def test_repeated_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [GOOD[0], {**GOOD[1], "id": "a"}])
    with pytest.raises(UserError, match="line 2: same id as line 1 \\('a'\\)"):
        read_records(path, {"id": "id"})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_records(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"unknown kind of file; use one of \.jsonl"):
        read_records(write(tmp_path / "p.csv", GOOD))
    with pytest.raises(UserError, match="holds no records"):
        read_records(write(tmp_path / "empty.jsonl", []))
    whole = write(tmp_path / "p.jsonl.gz", GOOD * 1).read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(UserError, match="damaged after line"):
        read_records(tmp_path / "cut.jsonl.gz")
    (tmp_path / "text.jsonl.gz").write_text("{}")
    with pytest.raises(UserError, match="damaged after line 0"):
        read_records(tmp_path / "text.jsonl.gz")
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "caf\xe9", "answer": 1}\n')
    with pytest.raises(UserError, match="line 1: not UTF-8"):
        read_records(tmp_path / "latin.jsonl")
    (tmp_path / "p.parquet").write_text("no")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read_records(tmp_path / "p.parquet")


def test_parquet_without_the_field(tmp_path: Path) -> None:
    pl.DataFrame({"question": ["a"]}).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(UserError, match="row 1: no field 'answer'"):
        read_records(tmp_path / "p.parquet")
