"""Every malformed record is one line that says where and what to do."""

import gzip
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.unit.entries import dataset_entry
from workflow_scripts.fetch_records import fetch
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.problems.readers import Problem, content, read_problems
from workflow_scripts.lib.problems.records import line_hashes, record_files, shard_identity

GOOD: list[dict[str, Any]] = [
    {"question": "1+1?", "answer": "2", "id": "a"},
    {"question": "2+2?", "answer": 4, "id": 7},
]


def read(path: Path, fields: dict[str, Any] | None = None, **settings: Any) -> list[Problem]:
    return read_problems(dataset_entry("p", path=str(path), fields=fields or {}, **settings))


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
    found = [(r.problem_id, r.question, r.gold) for r in read(path, fields)]
    assert found == [("a", "1+1?", "2"), ("7", "2+2?", "4")]
    assert [r.problem_id for r in read(path)] == ["p-000000", "p-000001"]


def test_field_mapping_and_blank_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", ['{"q": "Q1", "a": 1.5}\n', "\n", '{"q": "Q2", "a": "x"}\n'])
    found = read(path, {"question": "q", "gold": "a"})
    expected = [("Q1", "1.5", f"{path}: line 1"), ("Q2", "x", f"{path}: line 3")]
    assert [(r.question, r.gold, r.place) for r in found] == expected


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ("{bad\n", r"line 2: not valid JSON .*column 2\); fix or remove the line"),
        ('{"question":\n', r"line 2: not valid JSON .*column 13\); fix or remove the line"),
        ("[1]\n", "line 2: not a JSON object"),
        ({"answer": 3}, r"line 2: no field 'question' .*fields\.question to one of answer"),
        ({"question": "3+3?"}, r"line 2: no field 'answer' \(the gold\)"),
        ({"question": "  ", "answer": 3}, r"line 2: field 'question' \(the question\) is empty"),
        ({"question": "3+3?", "answer": ""}, r"line 2: field 'answer' \(the gold\) is empty"),
        ({"question": 3, "answer": 3}, "line 2: field 'question' .* is a number, not text"),
        ({"question": "3+3?", "answer": None}, "line 2: field 'answer' .* is null, not text"),
        ({"question": "3+3?", "answer": True}, "line 2: field 'answer' .* is true or false, not text"),
        ({"question": "3+3?", "answer": math.nan}, "line 2: field 'answer' .* is nan, not a finite number"),
        ({"question": "3+3?", "answer": -math.inf}, "line 2: field 'answer' .* is -inf, not a finite number"),
        ('{"question": "3+3?", "answer": 1e999}\n', "line 2: field 'answer' .* is inf, not a finite number"),
        ('{"question": "3+3?", "answer": 3, "answer": 4}\n', "line 2: field 'answer' is given twice; remove one"),
        ('{"question": "3\\ud8003?", "answer": 3}\n', "line 2: holds half a character .* write the whole"),
        ('{"question": "3?", "answer": ' + 5001 * "1" + "}\n", "line 2: a whole number of thousands of digits; write"),
        (100_000 * "[" + "\n", "line 2: nested too deeply; fix or remove the line"),
        ({"question": "1+1? ", "answer": 3}, "line 2: same question as line 1 .*remove one"),
    ],
)
def test_malformed_records(tmp_path: Path, second: Any, message: str) -> None:
    path = write(tmp_path / "p.jsonl", [GOOD[0], second])
    with pytest.raises(UserError, match=message) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


def test_a_byte_order_mark_and_whole_characters_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"question": "\\ud83d\\ude42?", "answer": 1}\n')
    assert read(path)[0].question == "🙂?"


def test_repeated_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [GOOD[0], {**GOOD[1], "id": "a"}])
    with pytest.raises(UserError, match="line 2: same id as line 1 \\('a'\\)"):
        read(path, {"id": "id"})


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match=r"unknown kind of file; use one of \.jsonl"):
        read(write(tmp_path / "p.csv", GOOD))
    with pytest.raises(UserError, match="contains no records"):
        read(write(tmp_path / "empty.jsonl", []))
    with pytest.raises(UserError, match=r"contains 2 records, but datasets\.p\.n_problems asks for 3"):
        read(write(tmp_path / "short.jsonl", GOOD), n_problems=3)
    whole = write(tmp_path / "p.jsonl.gz", GOOD * 1).read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-12])
    with pytest.raises(UserError, match="damaged after line"):
        read(tmp_path / "cut.jsonl.gz")
    (tmp_path / "text.jsonl.gz").write_text("{}")
    with pytest.raises(UserError, match="damaged after line 0"):
        read(tmp_path / "text.jsonl.gz")
    (tmp_path / "latin.jsonl").write_bytes(b'{"question": "caf\xe9", "answer": 1}\n')
    with pytest.raises(UserError, match="line 1: not UTF-8"):
        read(tmp_path / "latin.jsonl")
    (tmp_path / "p.parquet").write_text("no")
    with pytest.raises(UserError, match="not a readable Parquet file"):
        read(tmp_path / "p.parquet")


def test_parquet_without_the_field(tmp_path: Path) -> None:
    pl.DataFrame({"question": ["a"]}).write_parquet(tmp_path / "p.parquet")
    with pytest.raises(UserError, match="row 1: no field 'answer'"):
        read(tmp_path / "p.parquet")


def test_nested_fields_and_marked_answers(tmp_path: Path) -> None:
    path = write(
        tmp_path / "p.jsonl", [{"q": {"text": "Q1"}, "s": "so 3+4 #### 7"}, {"q": {"text": "Q2"}, "s": "#### 8"}]
    )
    fields = {"question": "q.text", "gold": "s"}
    assert [one.gold for one in read(path, fields, gold_in="after_hashes")] == ["7", "8"]
    with pytest.raises(
        UserError, match=r"line 1: no box in the correct answer; fix the record, or set gold_in to whole"
    ):
        read(path, fields, gold_in="last_box")
    boxed = write(tmp_path / "b.jsonl", [{"question": "Q", "answer": r"\boxed{1} or \boxed{\frac{1}{2}}"}])
    assert read(boxed, gold_in="last_box")[0].gold == r"\frac{1}{2}"
    with pytest.raises(UserError, match="line 1: correct answer 'x' is not an integer"):
        read(write(tmp_path / "i.jsonl", [{"question": "Q", "answer": "x"}]), answer="boxed_integer")


CHOICES = [{"label": "A", "text": "tin"}, {"label": "B", "text": "iron"}]


@pytest.mark.parametrize("choices", [CHOICES, {"label": ["A", "B"], "text": ["tin", "iron"]}])
def test_choices_of_both_forms(tmp_path: Path, choices: Any) -> None:
    path = write(tmp_path / "p.jsonl", [{"question": "Which rusts?", "choices": choices, "answer": "B"}])
    (found,) = read(path, answer="choice")
    assert found.question == "Which rusts?\nA. tin\nB. iron"
    assert (found.gold, json.loads(found.spec or "")) == ("B", {"A": "tin", "B": "iron"})


@pytest.mark.parametrize(
    ("choices", "answer", "message"),
    [
        (CHOICES, "C", "correct answer 'C' is none of the labels A, B"),
        (CHOICES[:1], "A", "not two or more distinct labels"),
        ([*CHOICES, CHOICES[0]], "A", "not two or more distinct labels"),
        ({"label": ["A", "B"], "text": ["tin"]}, "A", "not two or more distinct labels"),
        ({"label": 3, "text": 4}, "A", "not two or more distinct labels"),
        ({"label": None, "text": None}, "A", "not two or more distinct labels"),
        ({"label": "AB", "text": "xy"}, "A", "not two or more distinct labels"),
        ({"label": [["A"], "B"], "text": ["tin", "iron"]}, "A", "not two or more distinct labels"),
        ([*CHOICES, None], "A", "not two or more distinct labels"),
        ("A or B", "A", "not two or more distinct labels"),
    ],
)
def test_malformed_choices(tmp_path: Path, choices: Any, answer: str, message: str) -> None:
    path = write(tmp_path / "p.jsonl", [{"question": "Which rusts?", "choices": choices, "answer": answer}])
    with pytest.raises(UserError, match=f"line 1: .*{message}"):
        read(path, answer="choice")


CODE = {"prompt": "Double.", "code": "def f(x):\n    return 2 * x", "entry_point": "f", "atol": 0}
CODE |= {"assertion": "assert f(1) == 2", "base_input": [[1]], "plus_input": [[2], [3]]}
CODE_FIELDS = {"question": "prompt", "gold": "code"}


def test_programs(tmp_path: Path) -> None:
    (found,) = read(write(tmp_path / "p.jsonl", [CODE]), CODE_FIELDS, answer="code")
    spec = json.loads(found.spec or "")
    assert spec == {"entry_point": "f", "calls": [[1], [2], [3]], "tolerance": 0.0, "example": "assert f(1) == 2"}
    empty = write(tmp_path / "e.jsonl", [{**CODE, "plus_input": {}}])
    assert json.loads(read(empty, CODE_FIELDS, answer="code")[0].spec or "")["calls"] == [[1]]
    with pytest.raises(UserError, match="line 1: its inputs are not lists of arguments"):
        read(write(tmp_path / "f.jsonl", [{**CODE, "base_input": [1]}]), CODE_FIELDS, answer="code")


@pytest.mark.parametrize("tolerance", ["x", -1, math.nan, "inf"])
def test_a_tolerance_is_a_number(tmp_path: Path, tolerance: Any) -> None:
    with pytest.raises(UserError, match=r"line 1: field 'atol' .* is .*, not a "):
        read(write(tmp_path / "p.jsonl", [{**CODE, "atol": tolerance}]), CODE_FIELDS, answer="code")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kwargs": [3]}, "its arguments are not all mappings, or null for none"),
        ({"instruction_id_list": [3]}, "its instructions are not all ids, which are text"),
        ({"kwargs": [{"n": math.nan}]}, "its arguments hold a number that is not finite"),
    ],
)
def test_malformed_instructions(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    record = {"question": "Q", "instruction_id_list": ["a:b"], "kwargs": [None], **change}
    with pytest.raises(UserError, match=f"line 1: {message}"):
        read(write(tmp_path / "p.jsonl", [record]), answer="instructions")


def test_instructions(tmp_path: Path) -> None:
    record = {"question": "Q", "instruction_id_list": ["a:b", "c:d"], "kwargs": [{"n": 1, "m": None}, None]}
    (found,) = read(write(tmp_path / "p.jsonl", [record]), answer="instructions")
    assert found.gold == "a:b, c:d"
    assert json.loads(found.spec or "") == {"ids": ["a:b", "c:d"], "arguments": [{"n": 1}, {}], "prompt": "Q"}
    with pytest.raises(UserError, match="line 1: 2 instructions with 1 arguments"):
        read(write(tmp_path / "q.jsonl", [{**record, "kwargs": [{}]}]), answer="instructions")


def test_content_is_what_the_problems_say(tmp_path: Path) -> None:
    whole = read(write(tmp_path / "a.jsonl", GOOD), {"id": "id"})
    elsewhere = read(write(tmp_path / "b.jsonl.gz", GOOD), {"id": "id"})
    assert content(whole) == content(elsewhere)
    changed = read(write(tmp_path / "c.jsonl", [GOOD[0], {**GOOD[1], "answer": 5}]), {"id": "id"})
    assert len({content(whole), content(changed), content(whole[:1])}) == 3


def test_another_content_than_promised_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl.gz", GOOD)
    digest = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest()
    assert len(read(path, sha256=digest)) == 2
    with pytest.raises(UserError, match=f"its content has SHA-256 {digest}, not {'0' * 64}; fetch the file again"):
        read(path, sha256="0" * 64)


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    """A data set in the hub's own layout: a card that names subsets and parts, and their files."""
    folder = tmp_path / "sums"
    (folder / "main").mkdir(parents=True)
    (folder / "hard").mkdir()
    pl.DataFrame([{"question": "1+1?", "answer": "so #### 2"}]).write_parquet(
        folder / "main/test-00000-of-00001.parquet"
    )
    pl.DataFrame([{"question": "2+2?", "answer": "#### 4"}]).write_parquet(folder / "main/train-00000-of-00001.parquet")
    pl.DataFrame([{"question": "9*9?", "answer": "#### 81"}]).write_parquet(folder / "hard/test-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: main\n  data_files:\n  - split: train\n    path: main/train-*\n  - split: test\n"
        "    path: main/test-*\n- config_name: hard\n  data_files:\n  - split: test\n    path: hard/test-*\n---\n"
    )
    return folder


def test_the_hub_and_a_file_give_the_same_problems(hub_folder: Path, tmp_path: Path) -> None:
    def hub(**settings: Any) -> list[Problem]:
        return read(hub_folder, source="hub", gold_in="after_hashes", **settings)

    found = hub(subset="main")
    assert [(one.question, one.gold, one.place) for one in found] == [("1+1?", "2", f"{hub_folder}: row 1")]
    assert hub(subset="main", hub_split="train")[0].gold == "4"
    assert hub(subset="hard")[0].gold == "81"
    same = read(write(tmp_path / "p.jsonl", [{"question": "1+1?", "answer": "so #### 2"}]), gold_in="after_hashes")
    assert content(found) == content(same)
    with pytest.raises(UserError, match=r"sums: split validation of subset main cannot be read .*check name, revision"):
        hub(subset="main", hub_split="validation")
    with pytest.raises(UserError, match="split test of subset other cannot be read"):
        hub(subset="other")


def test_a_changed_folder_is_read_anew(hub_folder: Path) -> None:
    assert read(hub_folder, source="hub", subset="hard")[0].gold == "#### 81"
    changed = pl.DataFrame([{"question": "9*8?", "answer": "#### 72"}])
    changed.write_parquet(hub_folder / "hard/test-00000-of-00001.parquet")
    assert read(hub_folder, source="hub", subset="hard")[0].gold == "#### 72"


def test_a_data_set_that_the_hub_does_not_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="nobody/nothing: split test at abc cannot be read"):
        read(Path("nobody/nothing"), source="hub", revision="abc")


def test_fetched_whole_or_not_at_all(tmp_path: Path) -> None:
    source, target = write(tmp_path / "p.jsonl.gz", GOOD), tmp_path / "out" / "records.jsonl.gz"
    digest = hashlib.sha256(gzip.decompress(source.read_bytes())).hexdigest()
    with pytest.raises(UserError, match=r"its content has SHA-256 .* it has changed"):
        fetch(source.as_uri(), "0" * 64, target)
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be fetched .*check the address"):
        fetch((tmp_path / "none.jsonl").as_uri(), digest, target)
    assert list(target.parent.iterdir()) == []
    fetch(source.as_uri(), digest, target)
    assert target.read_bytes() == source.read_bytes()
    entry = dataset_entry(path=None, url=source.as_uri(), sha256=digest)
    assert record_files("mine", entry) == ["results/fetched/mine/records.jsonl.gz"]


def identities(path: Path, n: int = 7) -> list[str]:
    entry = {"source": "file", "url": None, "path": str(path), "shard_size": 3, "n_problems": n}
    line_hashes.cache_clear()
    return [shard_identity(entry, shard) for shard in range(-(-n // 3))]


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
def test_a_shard_is_known_by_its_own_lines(tmp_path: Path, name: str) -> None:
    def write(lines: list[str]) -> Path:
        with gzip.open(tmp_path / name, "wt") if name.endswith(".gz") else (tmp_path / name).open("w") as file:
            file.write("\n".join(lines))
        return tmp_path / name

    lines = [f'{{"question": "{number}"}}' for number in range(9)]
    before = identities(write([*lines[:7], ""]))
    assert len(set(before)) == 3
    assert identities(write(lines)) == before  # the file grew, what is asked for did not
    assert identities(write(lines), 9)[:2] == before[:2] and identities(write(lines), 9)[2] != before[2]
    corrected = [*lines[:4], '{"question": "four"}', *lines[5:]]
    assert [a == b for a, b in zip(identities(write(corrected)), before, strict=True)] == [True, False, True]
    moved = [*lines[:4], "", *lines[4:]]  # the problems are the same, but no longer on the same lines
    assert [a == b for a, b in zip(identities(write(moved)), before, strict=True)] == [True, False, False]


def test_a_parquet_file_is_known_as_a_whole_and_what_is_fetched_by_its_hash(tmp_path: Path) -> None:
    pl.DataFrame({"question": ["a", "b"]}).write_parquet(tmp_path / "p.parquet")
    before = identities(tmp_path / "p.parquet")
    pl.DataFrame({"question": ["a", "c"]}).write_parquet(tmp_path / "p.parquet")
    assert before[0] == before[2] != identities(tmp_path / "p.parquet")[0]
    for entry in ({"source": "hub", "url": None}, {"source": "file", "url": "https://x.org/p.jsonl"}):
        assert shard_identity(entry, 0) == ""
