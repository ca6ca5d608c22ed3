"""The six benchmarks of the paper, as `studies/paper.yaml` describes them, on real copies of them.

Hub data sets are laid out as the hub lays them out, fields and all, and read through the code that reads the hub.
"""

import ast
import gzip
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.unit.entries import dataset_entry
from tests.unit.hub_layout import COPIES, DATA, STUDY, local_entry, records
from workflow_scripts.lib.grading.answers import Grade
from workflow_scripts.lib.grading.code import program_of
from workflow_scripts.lib.grading.grade import Answer, Grader, grade_all
from workflow_scripts.lib.grading.instructions import check_ids
from workflow_scripts.lib.models.prompts import Wording
from workflow_scripts.lib.problems.readers import Problem, content, read_problems

WORKERS = min(2, os.cpu_count() or 1)
COUNTS = {"gsm8k": 1319, "math500": 500, "arc": 1172, "minerva_math": 272, "mbpp_plus": 378, "ifeval": 541}
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} with copies of the benchmarks is not here")
sandboxed = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap (bwrap) is not installed")


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Problem]]:
    """The problems of a benchmark, read as the paper's study reads them, except for their source."""

    def read(name: str) -> list[Problem]:
        entry = local_entry(name, tmp_path_factory.mktemp(name) / "data")
        if entry["source"] == "file":
            entry |= {"path": str(DATA / f"{COPIES[name]}.jsonl.gz"), "url": None}
        return read_problems(dataset_entry(name, **entry))

    made: dict[str, list[Problem]] = {}
    return lambda name: made[name] if name in made else made.setdefault(name, read(name))


@pytest.mark.parametrize("name", COUNTS)
def test_count_and_content(name: str, problems: Callable[[str], list[Problem]]) -> None:
    found = problems(name)
    assert len(found) == COUNTS[name] == STUDY["datasets"][name]["n_problems"]
    pinned = STUDY["datasets"][name].get("content")
    assert pinned in (None, content(found))


def test_every_data_set_is_pinned() -> None:
    assert set(STUDY["datasets"]) == set(COUNTS)
    for entry in STUDY["datasets"].values():
        assert entry.get("content") or len(entry.get("revision", "")) == 40


def graded(name: str, answers: list[Answer]) -> list[Grade]:
    return list(grade_all(answers, Grader(STUDY["datasets"][name]["answer"]), WORKERS))


def test_arc(problems: Callable[[str], list[Problem]]) -> None:
    """Gold is right and every other option wrong, in a box and in a sentence; also where the labels are 1 to 4."""
    found = problems("arc")
    labels = Counter(next(iter(json.loads(one.spec or ""))) for one in found)
    assert labels == {"A": 1150, "1": 22}
    assert all(f"\n{one.gold}. " in one.question for one in found)
    for form in ("so \\boxed{{{}}}", "The correct answer is ({}).", "Answer: {}", "It rusts.\n\n**{}**"):
        given = [(one, label) for one in found for label in json.loads(one.spec or "")]
        grades = graded("arc", [Answer(form.format(label), one.gold, one.spec) for one, label in given])
        assert [grade.reward for grade in grades] == [int(label == one.gold) for one, label in given]
    texts = [(one, text) for one in found for text in json.loads(one.spec or "").values()]
    grades = graded("arc", [Answer(f"\\boxed{{\\text{{{text}}}}}", one.gold, one.spec) for one, text in texts])
    wrong = [
        text
        for (one, text), g in zip(texts, grades, strict=True)
        if g.reward and json.loads(one.spec or "")[one.gold] != text
    ]
    missed = [
        text
        for (one, text), g in zip(texts, grades, strict=True)
        if not g.reward and json.loads(one.spec or "")[one.gold] == text
    ]
    assert wrong == ["C"]  # an option whose text is the letter of another
    assert len(missed) <= 0.005 * len(found), missed


def test_ifeval_has_a_checker_for_every_instruction(problems: Callable[[str], list[Problem]]) -> None:
    found = problems("ifeval")
    specs = [json.loads(one.spec or "") for one in found]
    check_ids([name for spec in specs for name in spec["ids"]])
    assert len({name for spec in specs for name in spec["ids"]}) == 25
    given = {record["prompt"]: record["kwargs"] for record in records("ifeval")}
    assert all(spec["arguments"] == given[spec["prompt"]] for spec in specs)  # the hub's nulls are gone
    empty = graded("ifeval", [Answer("", one.gold, one.spec) for one in found])
    assert not any(one.reward or one.loose for one in empty)
    said = graded("ifeval", [Answer("I will not do that, sorry.", one.gold, one.spec) for one in found])
    assert {one.reason for one in said} == {None}
    assert sum(one.reward for one in said) <= 0.1 * len(said)  # some ask for little: no comma, no capital, some words


def test_mbpp_plus_is_asked_as_evalplus_asks(problems: Callable[[str], list[Problem]]) -> None:
    entry, question = STUDY["datasets"]["mbpp_plus"], problems("mbpp_plus")[0].question
    wording = Wording(entry["template"], entry["instruction"], entry["response_prefix"])
    asked = "Please provide a self-contained Python script that solves the following problem"
    assert wording.turn(question, "unused") == f"{asked} in a markdown code block:\n```\n{question.strip()}\n```\n"
    solution = problems("mbpp_plus")[0].gold.strip()
    assert program_of(f"{wording.response_prefix}{solution}\n```\nThat is all.", "similar_elements") == f"{solution}\n"


@sandboxed
def test_mbpp_plus_right_programs_pass_and_mutants_fail(problems: Callable[[str], list[Problem]]) -> None:
    """Every right program is right; with one operator or result changed it is wrong, unless nothing changes."""
    found = problems("mbpp_plus")
    mutants = [(one, mutant(one.gold)) for one in found]
    answers = [Answer(f"```python\n{one.gold}\n```", one.gold, one.spec) for one in found]
    answers += [Answer(f"```python\n{program}\n```", one.gold, one.spec) for one, program in mutants]
    order = [place for i in range(len(found)) for place in (i, len(found) + i)]  # expected results are kept for a while
    by_place = dict(zip(order, graded("mbpp_plus", [answers[i] for i in order]), strict=True))
    assert [found[i].problem_id for i in range(len(found)) if not by_place[i].reward] == []
    survived = [mutants[i][0].problem_id for i in range(len(found)) if by_place[len(found) + i].reward]
    print("mutants that pass:", survived)
    assert len(survived) <= 0.05 * len(found)


class Change(ast.NodeTransformer):
    """Changes one place of a program."""

    OPERATORS: ClassVar[dict[type[ast.AST], Any]] = {
        ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Lt: ast.GtE, ast.Gt: ast.LtE, ast.LtE: ast.Gt,
        ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.Mod: ast.FloorDiv,
    }  # fmt: skip

    def __init__(self, place: ast.AST) -> None:
        self.place = place

    def visit(self, node: ast.AST) -> Any:
        if node is not self.place:
            return self.generic_visit(node)
        if isinstance(node, ast.Return):
            return ast.Return(ast.Tuple([node.value or ast.Constant(None), ast.Constant("changed")], ast.Load()))
        if isinstance(node, ast.BinOp):
            node.op = self.OPERATORS[type(node.op)]()
        elif isinstance(node, ast.Compare):
            node.ops[0] = self.OPERATORS[type(node.ops[0])]()
        return node


def mutant(program: str) -> str:
    """A program with one operator changed, drawn from all it has; with another result where it has none."""
    tree = ast.parse(program)
    places = [
        node
        for node in ast.walk(tree)
        if (isinstance(node, ast.BinOp) and type(node.op) in Change.OPERATORS)
        or (isinstance(node, ast.Compare) and type(node.ops[0]) in Change.OPERATORS)
    ]
    returns = [node for node in ast.walk(tree) if isinstance(node, ast.Return)]
    place = random.Random(program).choice(places) if places else returns[-1]
    return ast.unparse(ast.fix_missing_locations(Change(place).visit(tree)))


def test_the_data_were_not_copied_into_the_project() -> None:
    question = records("math500")[0]["problem"]
    tracked = [path for path in Path().rglob("*.json*") if not {".venv", "results", ".git"} & set(path.parts)]
    assert not [path for path in tracked if question[:60] in path.read_text(errors="ignore")]
    with gzip.open(DATA / "math500.jsonl.gz", "rt") as file:
        assert question in json.loads(file.readline())["problem"]
