"""Answers and grades, and how an answer is found in a response."""

import re
from dataclasses import dataclass

INTEGER = re.compile(r"[+-]?\d+")
SEPARATORS = re.compile(r"(?<=\d)(?:,|\\,|\{,\}|\\!)(?=\d{3}(?!\d))")


@dataclass(frozen=True)
class Grade:
    """`reward` 0 or 1, the `answer` that was extracted, and the `reason` if there is no verdict.

    `reason` is `timeout`, `unparsable` or None. `loose` is IFEval's second verdict, None for other answer types.
    """

    reward: int
    answer: str | None
    reason: str | None
    loose: int | None = None


def last_boxed(text: str) -> str | None:
    r"""Return the content of the last complete `\boxed{...}`, inner braces matched; None if there is none."""
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
    """Return the integer in `text`, without thousands separators and dollar signs; None if `text` is no integer."""
    cleaned = SEPARATORS.sub("", text.strip().strip("$").strip())
    return int(cleaned) if INTEGER.fullmatch(cleaned) and len(cleaned) < 1000 else None
