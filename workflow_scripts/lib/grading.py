"""Is a response right? Integers in a box are compared here, other mathematics by math-verify.

A response that was cut off is wrong whatever it says (method, section 1).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from workflow_scripts.lib.errors import UserError

ANSWER_TYPES = ("boxed_integer", "math")
TIMEOUT_SECONDS = 5
INTEGER = re.compile(r"[+-]?\d+")
SEPARATORS = re.compile(r"(?<=\d)(?:,|\\,|\{,\}|\\!)(?=\d{3}(?!\d))")


@dataclass(frozen=True)
class Grade:
    """`reward` 0 or 1, what was taken as the `answer`, and why there is no verdict: `timeout`, `unparsable` or None."""

    reward: int
    answer: str | None
    reason: str | None


def last_boxed(text: str) -> str | None:
    r"""What stands in the last complete `\boxed{...}`, inner braces matched; None if there is none."""
    start = text.rfind("\\boxed{")
    while start >= 0:
        depth = 0
        for place in range(start + len("\\boxed"), len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                return text[start + len("\\boxed{") : place]
        start = text.rfind("\\boxed{", 0, start)
    return None


def parse_integer(text: str) -> int | None:
    """The integer that `text` is, thousands separators and dollar signs aside; None if it is none."""
    cleaned = SEPARATORS.sub("", text.strip().strip("$").strip())
    return int(cleaned) if INTEGER.fullmatch(cleaned) and len(cleaned) < 1000 else None


def _grade_integer(text: str, gold: str) -> Grade:
    expected = parse_integer(gold)
    if expected is None:
        raise UserError(
            f"right answer {gold!r} is not an integer; set the data set's answer to math or mend the record"
        )
    answer = last_boxed(text)
    found = None if answer is None else parse_integer(answer)
    return Grade(int(found == expected), answer, "unparsable" if found is None else None)


@lru_cache(maxsize=4096)
def _parse_gold(gold: str) -> Any:
    from math_verify import parse

    return parse(f"\\boxed{{{gold}}}", parsing_timeout=TIMEOUT_SECONDS)


def _grade_math(text: str, gold: str) -> Grade:
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    boxed = last_boxed(text)
    if boxed is not None and boxed.split() == gold.split():
        return Grade(1, boxed, None)
    answer = boxed
    try:
        parsed = parse(text, parsing_timeout=TIMEOUT_SECONDS, raise_on_error=True)
        if not parsed:
            return Grade(0, answer, "unparsable")
        answer = boxed if boxed is not None else str(parsed[-1])
        right = verify(_parse_gold(gold), parsed, timeout_seconds=TIMEOUT_SECONDS, raise_on_error=True)
        return Grade(int(right), answer, None)
    except TimeoutException:
        return Grade(0, answer, "timeout")
    except Exception:  # sympy fails in many ways on what a model may write; each costs this answer only
        return Grade(0, answer, "unparsable")


def grade(text: str, gold: str, answer_type: str, truncated: bool = False) -> Grade:
    """Grade one response.

    `boxed_integer` compares the integer in the last box; `math` compares expressions with math-verify, which reads the
    last box or, without one, the last expression. Its timeouts use signals, so `math` works in the main thread only.

    Raises:
        UserError: an unknown answer type, or a right answer that is not of that type.
    """
    if answer_type not in ANSWER_TYPES:
        raise UserError(f"configuration: datasets.<name>.answer: {answer_type!r} is none of {', '.join(ANSWER_TYPES)}")
    if truncated:
        return Grade(0, None, None)
    return _grade_integer(text, gold) if answer_type == "boxed_integer" else _grade_math(text, gold)
