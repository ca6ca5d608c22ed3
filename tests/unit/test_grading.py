"""Verdicts on answers, and that a hopeless answer costs only itself."""

import time

import pytest

from workflow_scripts.lib import grading
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading import Grade, grade, last_boxed, parse_integer


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


def test_boxed_integers() -> None:
    assert grade(r"so \boxed{12}", "12", "boxed_integer") == Grade(1, "12", None)
    assert grade(r"\boxed{12} no, \boxed{13}", "12", "boxed_integer") == Grade(0, "13", None)
    assert grade(r"\boxed{twelve}", "12", "boxed_integer") == Grade(0, "twelve", "unparsable")
    assert grade("it is 12", "12", "boxed_integer") == Grade(0, None, "unparsable")


def test_truncated_is_wrong_whatever_it_says() -> None:
    for kind in grading.ANSWER_TYPES:
        assert grade(r"\boxed{12}", "12", kind, truncated=True) == Grade(0, None, None)


@pytest.mark.parametrize(
    ("text", "gold", "reward"),
    [
        (r"hence \boxed{\frac{1}{2}}", "0.5", 1),
        (r"\boxed{(x+1)^2}", "x^2+2x+1", 1),
        (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}", 1),
        (r"\boxed{\left( 3, \frac{\pi}{2} \right)}", r"\left( 3, \frac{\pi}{2} \right)", 1),
        (r"\boxed{\frac{1}{3}}", "0.5", 0),
        (r"\boxed{5} then \boxed{6}", "5", 0),
        ("The answer is 18.", "18", 1),
    ],
)
def test_mathematics(text: str, gold: str, reward: int) -> None:
    found = grade(text, gold, "math")
    assert (found.reward, found.reason) == (reward, None)
    assert found.answer == (last_boxed(text) or "18")


def test_unparsable_mathematics() -> None:
    assert grade("I do not know", "5", "math") == Grade(0, None, "unparsable")
    assert grade("", "5", "math") == Grade(0, None, "unparsable")


def test_timeout_costs_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grading, "TIMEOUT_SECONDS", 1)
    start = time.monotonic()
    assert grade(r"\boxed{9^{9^{9}}}", "5", "math") == Grade(0, "9^{9^{9}}", "timeout")
    assert time.monotonic() - start < 30
    assert grade(r"\boxed{5}", "5.0", "math").reward == 1


def test_what_the_user_can_mend() -> None:
    with pytest.raises(UserError, match="'twelve' is not an integer; set the data set's answer to math"):
        grade(r"\boxed{12}", "twelve", "boxed_integer")
    with pytest.raises(UserError, match="none of boxed_integer, math"):
        grade("", "1", "letter")
