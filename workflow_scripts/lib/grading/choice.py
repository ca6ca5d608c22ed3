"""Multiple choice: which option does a response name? (method, section 2)"""

import re
from collections.abc import Callable, Mapping

from workflow_scripts.lib.grading.answers import Grade, last_boxed

WRAPPING = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mathsf|boldsymbol|bf|rm)\b\s*")
STATED = r"(?:answer|choice|option|letter|choose|pick|select)(?:\s+(?:is|was|would\s+be|must\s+be|should\s+be|are))?"


def grade_choice(text: str, gold: str, options: Mapping[str, str]) -> Grade:
    """Grade as correct if the last option that the response commits to has the label `gold`; `options`: text by label.

    The last box counts; without one, the last statement ("the answer is (B)", "Option 3", "**C**"), or a last line
    that is nothing but an option.
    """
    box = last_boxed(text)
    answer = stated(text, options) if box is None else label_of(box, options)
    return Grade(int(answer == gold), answer, None if answer is not None else "unparsable")


def stated(text: str, options: Mapping[str, str]) -> str | None:
    """Return the label in the last sentence that states an answer, or in the last line."""
    labels = "|".join(map(re.escape, sorted(options, key=len, reverse=True)))
    # a bare letter counts in upper case only: "the answer is a lever" names no option
    label = rf"[\s:*_$\\]*(?:the\s+)?(?:option\s+|choice\s+)?[\s:*_$]*[(\[]?(?-i:({labels}))(?![\w'])[)\].:]?"
    places = [(match.start(), match[1]) for match in re.finditer(rf"{STATED}{label}", text, re.IGNORECASE)]
    places += [(match.start(), match[1]) for match in re.finditer(rf"\*\*[(\[]?({labels})[)\].:]*\*\*", text)]
    if places:
        return max(places)[1]
    lines = [line for line in text.splitlines() if line.strip()]
    return label_of(lines[-1], options) if lines else None


def label_of(piece: str, options: Mapping[str, str]) -> str | None:
    """Return the label that a short text gives: `B`, `(b)`, `B. its text`, or the text of exactly one option."""
    answer = plain(piece)
    match = re.match(
        r"(?:option|choice|answer)?\s*[(\[]?\s*(\w+)\s*[)\]]?(?P<rest>.*)", answer, re.IGNORECASE | re.DOTALL
    )
    if match:
        label = {name.casefold(): name for name in options}.get(match[1].casefold())
        rest = match["rest"].strip(" .:,;-)")
        if label is not None and (not rest or words(rest) == words(plain(options[label]))):
            return label
    spellings: tuple[Callable[[str], object], ...] = (str.casefold, words)
    for spelling in spellings:  # exact spelling before words only: charges of +3 and -3 are two options
        fitting = [label for label, text in options.items() if spelling(plain(text)) == spelling(answer)]
        if len(fitting) == 1:
            return fitting[0]
    return None


def plain(piece: str) -> str:
    """Return a piece of text without markup and without punctuation at its ends."""
    return " ".join(re.sub(r"[${}]", "", WRAPPING.sub("", piece)).split()).strip("*_.: ")


def words(text: str) -> tuple[str, ...]:
    """Return the words of a text, independent of case, spacing and punctuation."""
    return tuple(re.findall(r"\w+", text.casefold()))
