"""Verdicts on answers, and that a hopeless answer costs only itself."""

import json
import time
from typing import Any

import psutil
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.answers import Grade, last_boxed, parse_integer
from workflow_scripts.lib.grading.grade import CATALOGUE, Answer, Grader, grade, grade_all


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no box", None),
        (r"\boxed{7}", "7"),
        (r"first \boxed{1}, then \boxed{2}.", "2"),
        (r"\boxed{\frac{1}{2}} done", r"\frac{1}{2}"),
        (r"\boxed{3} and \boxed{4", "3"),
        (r"\boxed{}", ""),
        (r"\boxed{a{b}c}}", "a{b}c"),
        (r"\boxed{", None),
    ],
)
def test_last_boxed(text: str, expected: str | None) -> None:
    assert last_boxed(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12", 12),
        (" -7 ", -7),
        ("+3", 3),
        ("$12$", 12),
        ("007", 7),
        ("1,234", 1234),
        (r"1\,234{,}567", 1234567),
        ("1,2", None),
        ("12.0", None),
        ("1 2", None),
        ("", None),
        ("x", None),
        ("9" * 5000, None),
    ],
)
def test_parse_integer(text: str, expected: int | None) -> None:
    assert parse_integer(text) == expected


def one(text: str, gold: str, kind: str, **more: Any) -> Grade:
    return grade(Answer(text, gold, **more), Grader(kind))


def test_boxed_integers() -> None:
    assert one(r"so \boxed{12}", "12", "boxed_integer") == Grade(1, "12", None)
    assert one(r"\boxed{12} no, \boxed{13}", "12", "boxed_integer") == Grade(0, "13", None)
    assert one(r"\boxed{twelve}", "12", "boxed_integer") == Grade(0, "twelve", "unparsable")
    assert one("it is 12", "12", "boxed_integer") == Grade(0, None, "unparsable")


def test_truncated_is_wrong_whatever_it_says() -> None:
    for kind in CATALOGUE:
        cut = Answer(r"\boxed{12}", "12", truncated=True)
        assert grade(cut, Grader(kind)) == Grade(0, None, None)
        assert list(grade_all([cut], Grader(kind))) == [Grade(0, None, None)]


@pytest.mark.parametrize(
    ("text", "gold", "reward"),
    [
        (r"hence \boxed{\frac{1}{2}}", "0.5", 1),
        (r"\boxed{(x+1)^2}", "x^2+2x+1", 1),
        (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}", 1),
        (r"\boxed{Evelyn}", r"\text{Evelyn}", 1),
        (r"\boxed{Robert}", r"\text{Evelyn}", 0),
        ("Final Answer: The final answer is Evelyn. I hope it is correct.", r"\text{Evelyn}", 1),
        (r"\boxed{\left( 3, \frac{\pi}{2} \right)}", r"\left( 3, \frac{\pi}{2} \right)", 1),
        (r"\boxed{\frac{1}{3}}", "0.5", 0),
        (r"\boxed{5} then \boxed{6}", "5", 0),
        ("The answer is 18.", "18", 1),
        ("The answer is $18$ dollars.", "18", 1),
        ("It cost$1.50 and then$7. The answer is$7.", "2", 0),
        ("It cost$1.50 and then$7. The answer is$7.", "7", 1),
        (r"so $-\boxed{256}$. The final answer is $-256$.", "-256", 1),
        (r"The final answer is $-2 + 7i.$", "-2 + 7i", 1),
        ("3 + 4 = 7\n#### 7", "7", 1),
        ("The answer is 9 500.", "9500", 1),
        ("The answer is 50 + 80 = 130 dollars.", "130", 1),
        (r"\boxed{35.0\%}", "35", 1),
        (r"\boxed{35\%}", "0.35", 1),
        (r"\boxed{36\%}", "35", 0),
        (r"\boxed{4.5\times 10^{33}}", "4.5e33", 1),
        (r"\boxed{1.325e-28}", "1.325e-27", 0),
        (r"\boxed{52_9}", "52_8", 0),
        (r"\boxed{52_{8}}", "52_8", 1),
        (r"\boxed{[5, \infty)}", r"(5,\infty)", 0),
    ],
)
def test_mathematics(text: str, gold: str, reward: int) -> None:
    found = one(text, gold, "math")
    assert (found.reward, found.reason) == (reward, None)


def test_unparsable_mathematics() -> None:
    assert one("I do not know", "5", "math") == Grade(0, None, "unparsable")
    assert one("", "5", "math") == Grade(0, None, "unparsable")


HANGS = [Answer(r"\boxed{5}", "5.0"), Answer(r"\boxed{9^{9^{9}}}", "5"), Answer(r"\boxed{6}", "6.0")]


def test_timeout_costs_one_answer() -> None:
    start = time.monotonic()
    found = list(grade_all(HANGS, Grader("math"), seconds=8))
    assert found == [Grade(1, "5", None), Grade(0, None, "timeout"), Grade(1, "6", None)]
    assert time.monotonic() - start < 60


def test_a_grader_that_dies_costs_one_answer() -> None:
    """A worker killed in the middle of an answer, as by the kernel when memory runs out."""
    results = grade_all(HANGS, Grader("math"), seconds=120)
    assert next(results).reward == 1
    time.sleep(1)
    (worker,) = [one for one in psutil.Process().children() if "spawn_main" in " ".join(one.cmdline())]
    worker.kill()
    assert [found.reason for found in results] == ["unparsable", None]


OPTIONS = {"A": "a lever", "B": "iron nails", "C": "the Moon", "D": "a lever and a cat"}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"so \boxed{C}", "C"),
        (r"so \boxed{\text{(C)}}", "C"),
        (r"so \boxed{\textbf{C}}", "C"),
        (r"so \boxed{C. the Moon}", "C"),
        (r"so \boxed{\text{C. } \text{the Moon}}", "C"),
        (r"so \boxed{c}", "C"),
        (r"so \boxed{the Moon}", "C"),
        (r"so \boxed{\text{The moon.}}", "C"),
        (r"so \boxed{A} or rather \boxed{B}", "B"),
        (r"so \boxed{E}", None),
        (r"so \boxed{C. iron nails}", None),
        ("The answer is (B).", "B"),
        ("The correct answer is: B. iron nails", "B"),
        ("the answer is **D**", "D"),
        ("The best choice is option A because it turns.", "A"),
        ("First I thought the answer is A. But the answer is C.", "C"),
        ("Answer: B", "B"),
        ("I choose B, since nails rust", "B"),
        ("Both rust.\n\nB", "B"),
        ("Both rust.\n\n(B) iron nails", "B"),
        ("Both rust.\n\niron nails", "B"),
        ("**B.**", "B"),
        ("The answer is a lever.", None),
        ("The answer is a lever.\na lever", "A"),
        ("I do not know.", None),
        ("", None),
    ],
)
def test_options(text: str, found: str | None) -> None:
    expected = Grade(int(found == "B"), found, None if found else "unparsable")
    assert one(text, "B", "choice", spec=json.dumps(OPTIONS)) == expected


def test_options_with_numbers() -> None:
    options = json.dumps({"1": "tin", "2": "iron"})
    for text in (r"\boxed{2}", "The answer is (2).", "Option 2 is right", "The answer is 2. iron"):
        assert one(text, "2", "choice", spec=options) == Grade(1, "2", None)


def test_instructions_strict_and_loose() -> None:
    ids = ["punctuation:no_comma", "length_constraints:number_sentences"]
    arguments = [{}, {"num_sentences": 2, "relation": "at least"}]
    spec = json.dumps({"ids": ids, "arguments": arguments, "prompt": "Write."})
    assert one("One is here. Two is here.", "", "instructions", spec=spec) == Grade(1, ", ".join(ids), None, 1)
    preamble = "Sure, here it is:\nOne is here. Two is here."
    assert one(preamble, "", "instructions", spec=spec) == Grade(0, ids[1], None, 1)
    assert one("One, here.", "", "instructions", spec=spec) == Grade(0, "", None, 0)
    with pytest.raises(UserError, match="no checker for instruction tone:polite"):
        one("Hi.", "", "instructions", spec=json.dumps({"ids": ["tone:polite"], "arguments": [{}], "prompt": ""}))


def test_what_the_user_can_fix() -> None:
    with pytest.raises(UserError, match="'twelve' is not an integer; set the data set's answer to math"):
        one(r"\boxed{12}", "twelve", "boxed_integer")
    with pytest.raises(UserError, match="none of boxed_integer, math"):
        one("", "1", "letter")
