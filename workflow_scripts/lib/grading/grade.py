"""Is a response correct? One function for one answer, one for many; each answer type has a module of its own.

A truncated response is incorrect, whatever it says (method, section 1). A grader that hangs or crashes on an answer
affects that answer only.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import TimeoutError as AnswerTimeout
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.answers import Grade, last_boxed, parse_integer


@dataclass(frozen=True)
class Grader:
    """How a data set's answers are graded."""

    answer: str
    allow_unsandboxed: bool = False


@dataclass(frozen=True)
class Answer:
    """A response's text with the correct answer, further input of the grader (JSON), and whether it was truncated."""

    text: str
    gold: str
    spec: str | None = None
    truncated: bool = False


def _spec(answer: Answer) -> Any:
    return json.loads(answer.spec or "{}")


def _integer(answer: Answer, grader: Grader) -> Grade:
    expected, boxed = parse_integer(answer.gold), last_boxed(answer.text)
    if expected is None:
        raise UserError(
            f"correct answer {answer.gold!r} is not an integer; set the data set's answer to math or fix it"
        )
    given = None if boxed is None else parse_integer(boxed)
    return Grade(int(given == expected), boxed, "unparsable" if given is None else None)


def _math(answer: Answer, grader: Grader) -> Grade:
    from workflow_scripts.lib.grading.mathematics import grade_math

    return grade_math(answer.text, answer.gold)


def _choice(answer: Answer, grader: Grader) -> Grade:
    from workflow_scripts.lib.grading.choice import grade_choice

    return grade_choice(answer.text, answer.gold, _spec(answer))


def _code(answer: Answer, grader: Grader) -> Grade:
    from workflow_scripts.lib.grading.code import grade_code

    return grade_code(answer.text, answer.gold, answer.spec or "{}", grader.allow_unsandboxed)


def _instructions(answer: Answer, grader: Grader) -> Grade:
    from workflow_scripts.lib.grading.instructions import grade_instructions

    spec = _spec(answer)
    return grade_instructions(answer.text, spec["ids"], spec["arguments"], spec["prompt"])


@dataclass(frozen=True)
class AnswerType:
    """How one type of answer is graded. Graders are imported where they are used, because some are heavy.

    `seconds`: how long one answer may take by the clock, where the grader may hang; None where it cannot.
    """

    grade: Callable[[Answer, Grader], Grade]
    seconds: float | None = None


CATALOGUE = {
    "boxed_integer": AnswerType(_integer),
    "math": AnswerType(_math, seconds=30),
    "choice": AnswerType(_choice),
    "code": AnswerType(_code, seconds=1200),  # it has its own, closer limit inside
    "instructions": AnswerType(_instructions, seconds=60),
}
"""Every answer type, one row each; `problems.readers` says what each needs of a record, the schema explains it."""


def grade(answer: Answer, grader: Grader) -> Grade:
    """Grade one answer, in this process and without a limit on time (except for code, which has its own).

    Raises:
        UserError: an unknown answer type, a correct answer that is not of that type, or no sandbox for code.
    """
    if grader.answer not in CATALOGUE:
        known = ", ".join(CATALOGUE)
        raise UserError(f"configuration: datasets.<name>.answer: {grader.answer!r} is none of {known}")
    return Grade(0, None, None) if answer.truncated else CATALOGUE[grader.answer].grade(answer, grader)


def grade_all(
    answers: Sequence[Answer], grader: Grader, workers: int = 1, seconds: float | None = None
) -> Iterator[Grade]:
    """Grade many answers, in their order.

    Graders that may hang run in `workers` processes of their own; an answer that takes more than `seconds` (by default
    those of its type) gets the reason `timeout`, and one that kills its process gets `unparsable`.

    Raises:
        UserError: as `grade`.
    """
    known = CATALOGUE.get(grader.answer)
    limit = known.seconds if known and seconds is None else seconds
    if limit is None:
        yield from (grade(answer, grader) for answer in answers)
        return
    from pebble import ProcessExpired, ProcessPool

    with ProcessPool(max_workers=workers, context=get_context("spawn")) as pool:  # a fork would copy Polars' threads
        waiting = [None if one.truncated else pool.schedule(grade, [one, grader], timeout=limit) for one in answers]
        try:
            for future in waiting:
                try:
                    yield Grade(0, None, None) if future is None else future.result()
                except AnswerTimeout:
                    yield Grade(0, None, "timeout")
                except ProcessExpired:
                    yield Grade(0, None, "unparsable")
        except BaseException:
            pool.stop()
            raise
