"""Mathematics, by math-verify; words by their letters where the right answer is no expression (method, section 2)."""

import logging
import math
import re
from functools import lru_cache
from typing import Any

from workflow_scripts.lib.grading.answers import Grade, last_boxed

logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns at every call that time is not its business

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
    """What a response gives as its answer; None if it does not say.

    The last box, unless a sentence "the final answer is" comes after it; without a box what follows the last ####, or
    the last "the answer is".
    """
    boxed = last_boxed(text)
    statement = next(reversed(list(STATEMENT.finditer(text))), None)
    if boxed is not None and not (statement and statement[1] and statement.start() > text.rfind("\\boxed{")):
        return boxed
    if boxed is None and "####" in text:
        return text.rpartition("####")[2].strip().partition("\n")[0]
    return _said(text[statement.end() :]) if statement else boxed


def _said(rest: str) -> str:
    """The answer at the start of what follows "the answer is", without the sentence around it."""
    said = re.split(r"\.\s", AFTERWORD.sub("", rest.partition("\n")[0]))[0].strip(" *").rstrip(".")
    formula = re.fullmatch(r"\$([^$]+)\$(?:\s+[a-z ]+)?|\\\((.+?)\\\)|\\\[(.+?)\\\]", said)
    return next(part for part in formula.groups() if part).rstrip(". ") if formula else said


def words(text: str) -> str | None:
    """The words of an answer that is nothing but words, in one spelling; None if it holds anything else."""
    plain = " ".join(MARKUP.sub(" ", text).split()).strip(".").casefold()
    return plain if re.fullmatch(r"[a-z][a-z' -]+", plain) else None


def _spelt(expression: str) -> str:
    r"""An expression as math-verify reads it: 4.5 \times 10^{33}, not 4.5e33; 9500, not 9 500 or 9500 miles."""
    expression = POWER_OF_TEN.sub(r"\1 \\times 10^{\2}", expression)
    expression = GROUPED.sub(lambda found: found[0].replace(" ", ""), expression)
    expression = FACTORS.sub(r"\\cdot(", expression)
    quantity = QUANTITY.fullmatch(expression.strip())
    return quantity[1] if quantity else expression


def _far_apart(wanted: Any, given: Any) -> bool:
    """Whether both are numbers that differ in the fourth digit: math-verify rounds at the sixth place, not digit."""
    ours, theirs = (
        [float(one) for one in found if getattr(one, "is_real", False) and one.is_number] for found in (wanted, given)
    )
    return bool(ours and theirs) and not any(math.isclose(a, b, rel_tol=1e-4) for a in ours for b in theirs)


def _bases_differ(answer: str, gold: str) -> bool:
    """Whether both are numerals that name their base, and not the same one; math-verify does not look at it."""
    named = [NUMERAL.fullmatch(one.strip(" $")) for one in (answer, gold)]
    return all(named) and len({one[1] for one in named if one}) > 1


@lru_cache(maxsize=4096)
def _parse_gold(gold: str) -> Any:
    return _parse_boxed(gold)


def _parse_boxed(expression: str) -> Any:
    from math_verify import parse

    return parse(f"\\boxed{{{_spelt(expression)}}}", parsing_timeout=None, raise_on_error=True)


def _equal(gold: str, parsed: Any) -> bool:
    from math_verify import verify

    right = verify(_parse_gold(gold), parsed, timeout_seconds=None, raise_on_error=True)
    return bool(right) and not _far_apart(_parse_gold(gold), parsed)


def _parse_answer(text: str, answer: str | None) -> Any:
    """The stated answer or, if there is none that can be read, the last expression of the response."""
    from math_verify import parse

    found = _parse_boxed(answer) if answer else []
    return found or parse(text, parsing_timeout=None, raise_on_error=True)


def grade_math(text: str, gold: str) -> Grade:
    """Right if what a response states as its answer, or else its last expression, equals `gold`.

    There is no limit on time here: whoever grades many sets one (`grading.grade_all`).
    """
    answer = stated(text)
    if answer is not None and answer.split() == gold.split():
        return Grade(1, answer, None)
    if (wanted := words(gold)) is not None:
        return Grade(int(answer is not None and words(answer) == wanted), answer, None if answer else "unparsable")
    if answer is not None and _bases_differ(answer, gold):
        return Grade(0, answer, None)
    try:
        parsed = _parse_answer(text, answer)
        if not parsed:
            return Grade(0, answer, "unparsable")
        right = _equal(gold, parsed)
        if not right and answer and (percent := PERCENT.fullmatch(answer)):  # 35.0% may be 35 as well as 0.35
            right = _equal(gold, _parse_boxed(percent[1]))
        return Grade(int(right), answer if answer is not None else str(parsed[-1]), None)
    except Exception:  # sympy fails in many ways on what a model may write; each costs this answer only
        return Grade(0, answer, "unparsable")
