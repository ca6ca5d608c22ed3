"""Verifiable instructions, by IFEval's own checkers as the package if-verifiable carries them (method, section 2)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.answers import Grade

SENTENCES = Path("resources/nltk_data")
"""English data of the sentence splitter. They ship with the project, so that grading needs no network."""


def checkers() -> dict[str, Any]:
    """Return the checker of each instruction id."""
    import nltk
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT

    if str(SENTENCES) not in nltk.data.path:
        nltk.data.path.insert(0, str(SENTENCES))
    return INSTRUCTION_DICT


def check_ids(ids: Sequence[str]) -> None:
    """Raise unless every instruction has a checker.

    Raises:
        UserError: one has none.
    """
    if unknown := sorted(set(ids) - set(checkers())):
        raise UserError(f"no checker for instruction {', '.join(unknown)}; correct the id or remove the record")


def grade_instructions(text: str, ids: Sequence[str], arguments: Sequence[dict[str, Any]], prompt: str) -> Grade:
    """Grade as correct if the response follows every instruction exactly.

    `loose` also forgives markup and a first or last line.

    `answer` lists the instructions that the response follows.

    Raises:
        UserError: an instruction has no checker.
    """
    from if_verifiable.common import evaluate_instructions
    from langdetect import DetectorFactory

    check_ids(ids)
    DetectorFactory.seed = 0  # language detection draws random numbers
    results, scores = evaluate_instructions(
        text, list(ids), [dict(argument) for argument in arguments], prompt, checkers()
    )
    followed = ", ".join(result.instruction_id for result in results if result.strict_pass)
    return Grade(int(scores.binary_strict == 1), followed, None, int(scores.binary_loose == 1))
