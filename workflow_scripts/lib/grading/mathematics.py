"""Mathematics, by math-verify; words by their letters if the correct answer is no expression (method, section 2)."""

import logging
import math
import re
from functools import lru_cache
from typing import Any

from workflow_scripts.lib.grading.answers import Grade, last_boxed

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns at every call that it sets no time limit

STATEMENT = re.compile(r"(final\s+)?answer(?:\s+is|\s*:|\s+would\s+be)\s*:?\s*", re.IGNORECASE)
AFTERWORD = re.compile(r"\.?\s*I hope it is correct.*", re.IGNORECASE)
POWER_OF_TEN = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([+-]?\d+)(?![\w.])")
GROUPED = re.compile(r"(?<![\d.])\d{1,3}(?: \d{3})+(?![\d.])")
FACTORS = re.compile(r"(?<=\d)\((?=\d+\)$)")
QUANTITY = re.compile(r"(?:.*=\s*)?(\$?-?\d[\d,]*(?:\.\d+)?)\s+[a-zA-Z][a-zA-Z ]*")
PERCENT = re.compile(r"(.+?)\s*\\?%")
NUMERAL = re.compile(r"\w+_\{?(\d+)\}?")
MARKUP = re.compile(r"\\(?:text|mbox|textbf|mathrm|operatorname)\s*|\\[!,;: ]|[{}$]")


def stated(text: str) -> str | None:
    """Return what a response states as its answer; None if it states none.

    It is the last box, unless a sentence "the final answer is" comes after it; without a box, the text after the last
    ####, or after the last "the answer is".
    """
    boxed = last_boxed(text)
    statement = next(reversed(list(STATEMENT.finditer(text))), None)
    if boxed is not None and not (statement and statement[1] and statement.start() > text.rfind("\\boxed{")):
        return boxed
    if boxed is None and "####" in text:
        return text.rpartition("####")[2].strip().partition("\n")[0]
    return _stated_after(text[statement.end() :]) if statement else boxed


def _stated_after(rest: str) -> str:
    """Return the answer at the start of the text after "the answer is", without the sentence around it."""
    answer = re.split(r"\.\s", AFTERWORD.sub("", rest.partition("\n")[0]))[0].strip(" *").rstrip(".")
    formula = re.fullmatch(r"\$([^$]+)\$(?:\s+[a-z ]+)?|\\\((.+?)\\\)|\\\[(.+?)\\\]", answer)
    return next(part for part in formula.groups() if part).rstrip(". ") if formula else answer


def words(text: str) -> str | None:
    """Return the words of an answer that consists of words only, in one spelling; None if it contains anything else."""
    plain = " ".join(MARKUP.sub(" ", text).split()).strip(".").casefold()
    return plain if re.fullmatch(r"[a-z][a-z' -]+", plain) else None


def _spelt(expression: str) -> str:
    r"""Rewrite an expression as math-verify reads it: 4.5 \times 10^{33}, not 4.5e33; 9500, not 9 500 or 9500 miles."""
    expression = POWER_OF_TEN.sub(r"\1 \\times 10^{\2}", expression)
    expression = GROUPED.sub(lambda match: match[0].replace(" ", ""), expression)
    expression = FACTORS.sub(r"\\cdot(", expression)
    quantity = QUANTITY.fullmatch(expression.strip())
    return quantity[1] if quantity else expression


def _far_apart(gold: Any, given: Any) -> bool:
    """Return whether both are numbers that differ in the fourth digit: math-verify rounds at the sixth decimal."""
    expected, stated = (
        [float(value) for value in parsed if getattr(value, "is_real", False) and value.is_number]
        for parsed in (gold, given)
    )
    return bool(expected and stated) and not any(math.isclose(a, b, rel_tol=1e-4) for a in expected for b in stated)


def _bases_differ(answer: str, gold: str) -> bool:
    """Return whether both are numerals that name different bases; math-verify ignores the base."""
    matches = [NUMERAL.fullmatch(text.strip(" $")) for text in (answer, gold)]
    return all(matches) and len({match[1] for match in matches if match}) > 1


@lru_cache(maxsize=4096)
def _parse_gold(gold: str) -> Any:
    return _parse_boxed(gold)


def _parse_boxed(expression: str) -> Any:
    from math_verify import parse

    return parse(f"\\boxed{{{_spelt(expression)}}}", parsing_timeout=None, raise_on_error=True)


def _equal(gold: str, parsed: Any) -> bool:
    from math_verify import verify

    verified = verify(_parse_gold(gold), parsed, timeout_seconds=None, raise_on_error=True)
    return bool(verified) and not _far_apart(_parse_gold(gold), parsed)


def _parse_answer(text: str, answer: str | None) -> Any:
    """Parse the stated answer or, if none can be read, the last expression of the response."""
    from math_verify import parse

    parsed = _parse_boxed(answer) if answer else []
    return parsed or parse(text, parsing_timeout=None, raise_on_error=True)


def grade_math(text: str, gold: str) -> Grade:
    """Grade as correct if the answer that a response states, or else its last expression, equals `gold`.

    There is no time limit here; `grade.grade_all` sets one.
    """
    answer = stated(text)
    if answer is not None and answer.split() == gold.split():
        return Grade(1, answer, None)
    if (expected := words(gold)) is not None:
        return Grade(int(answer is not None and words(answer) == expected), answer, None if answer else "unparsable")
    if answer is not None and _bases_differ(answer, gold):
        return Grade(0, answer, None)
    try:
        parsed = _parse_answer(text, answer)
        if not parsed:
            return Grade(0, answer, "unparsable")
        correct = _equal(gold, parsed)
        if not correct and answer and (percent := PERCENT.fullmatch(answer)):  # 35.0% may be 35 as well as 0.35
            correct = _equal(gold, _parse_boxed(percent[1]))
        return Grade(int(correct), answer if answer is not None else str(parsed[-1]), None)
    except Exception:  # sympy fails in many ways on text of a model; each failure affects this answer only
        return Grade(0, answer, "unparsable")
