"""Is a response right? One function for one answer, one for many; each kind of answer has a module of its own.

A response that was cut off is wrong whatever it says (method, section 1). A grader that hangs or dies on an answer
costs that answer and no other.
"""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import TimeoutError as GaveUp
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.answers import Grade, last_boxed, parse_integer

ANSWER_TYPES = ("boxed_integer", "math", "choice", "code", "instructions")
SECONDS = {"math": 30.0, "code": 1200.0, "instructions": 60.0}
"""How long one answer may take by the clock, where a grader may hang. Code has its own, closer limit inside."""


@dataclass(frozen=True)
class Grader:
    """How a data set's answers are graded."""

    answer: str
    allow_unsandboxed: bool = False


@dataclass(frozen=True)
class Answer:
    """A response's text with the right answer, what the grader needs besides (JSON), and whether it was cut off."""

    text: str
    gold: str
    spec: str | None = None
    truncated: bool = False


def grade(answer: Answer, grader: Grader) -> Grade:
    """Grade one answer, in this process and without a limit on time (except for code, which has its own).

    Raises:
        UserError: an unknown answer type, a right answer that is not of that type, or no sandbox for code.
    """
    if grader.answer not in ANSWER_TYPES:
        known = ", ".join(ANSWER_TYPES)
        raise UserError(f"configuration: datasets.<name>.answer: {grader.answer!r} is none of {known}")
    if answer.truncated:
        return Grade(0, None, None)
    return _grade(answer, grader)


def _grade(answer: Answer, grader: Grader) -> Grade:
    """Graders are imported where they are used: most studies need one of them, and some are heavy."""
    if grader.answer == "math":
        from workflow_scripts.lib.grading.mathematics import grade_math

        return grade_math(answer.text, answer.gold)
    if grader.answer == "choice":
        from workflow_scripts.lib.grading.choice import grade_choice

        return grade_choice(answer.text, answer.gold, _spec(answer))
    if grader.answer == "code":
        from workflow_scripts.lib.grading.code import grade_code

        return grade_code(answer.text, answer.gold, answer.spec or "{}", grader.allow_unsandboxed)
    if grader.answer == "instructions":
        from workflow_scripts.lib.grading.instructions import grade_instructions

        spec = _spec(answer)
        return grade_instructions(answer.text, spec["ids"], spec["arguments"], spec["prompt"])
    expected, boxed = parse_integer(answer.gold), last_boxed(answer.text)
    if expected is None:
        raise UserError(f"right answer {answer.gold!r} is not an integer; set the data set's answer to math or mend it")
    found = None if boxed is None else parse_integer(boxed)
    return Grade(int(found == expected), boxed, "unparsable" if found is None else None)


def _spec(answer: Answer) -> Any:
    return json.loads(answer.spec or "{}")


def grade_all(
    answers: Sequence[Answer], grader: Grader, workers: int = 1, seconds: float | None = None
) -> Iterator[Grade]:
    """Grade many answers, in their order.

    Graders that may hang run in `workers` processes of their own; an answer that takes more than `seconds` (by default
    `SECONDS`) gets the reason `timeout`, one that kills its process `unparsable`.

    Raises:
        UserError: as `grade`.
    """
    limit = SECONDS.get(grader.answer) if seconds is None else seconds
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
                except GaveUp:
                    yield Grade(0, None, "timeout")
                except ProcessExpired:
                    yield Grade(0, None, "unparsable")
        except BaseException:
            pool.stop()
            raise
