"""Turn lines of text or token ids into scored lines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, read_architecture, vocabulary_of
from workflow_scripts.lib.models.paragraphs import paragraph_texts
from workflow_scripts.lib.models.prompts import Wording, build_prompt
from workflow_scripts.lib.models.tokenizer import end_tokens, load_tokenizer
from workflow_scripts.lib.probes.scoring import Reader, ResponseScores

ADDED = ("confidence", "value", "steps", "note")
NO_TOKENS = "the answer has no token: it has no steps, and its value is the confidence"
WHOLE = "scores are normalised over the whole answer: they are available only when it is finished"


@dataclass(frozen=True)
class Line:
    """A line of the input with its token ids; `response_ids` is None for a question alone."""

    place: str
    record: dict[str, Any]
    prompt_ids: list[int]
    response_ids: list[int] | None


class LineReader:
    """Reads lines as token ids: the model's tokenizer, its limits, and the wording of the data set.

    Raises:
        UserError: the model's folder has no tokenizer or no configuration that can be read.
    """

    def __init__(self, model: ModelConfig, wording: Wording, questions_only: bool) -> None:
        self.model, self.wording, self.tokenizer = model, wording, load_tokenizer(model)
        self.questions_only = questions_only
        pad = self.tokenizer.pad_token_id
        self.ends = {*end_tokens(model, self.tokenizer), *([] if pad is None else [pad])}
        self.vocabulary = vocabulary_of(model)
        self.context = read_architecture(model.path, model.revision).context

    def line(self, place: str, record: Any) -> Line:
        """Return a line as token ids.

        Raises:
            UserError: a field is missing, of the wrong kind, taken, or more than the model can read.
        """
        if not isinstance(record, Mapping):
            raise UserError(f"{place}: not a JSON object; write one object with named fields per line")
        if taken := [name for name in ADDED if name in record]:
            raise UserError(f"{place}: has a field {taken[0]!r}, which the output adds; rename or remove it")
        prompt, response = self.prompt(place, record), self.response(place, record)
        length = len(prompt) + len(response or [])
        if self.context is not None and length > self.context:
            lengths = f"{length} tokens, but model {self.model.key} reads {self.context}"
            raise UserError(f"{place}: prompt and answer have {lengths}; shorten or remove the line")
        return Line(place, dict(record), prompt, response)

    def prompt(self, place: str, record: Mapping[str, Any]) -> list[int]:
        """Return the prompt's token ids: the given ones, or the study's prompt around the question."""
        ids = self.ids(place, record, "prompt_ids")
        if ids is None:
            question = record.get("question")
            if not isinstance(question, str) or not question.strip():
                raise UserError(f"{place}: no text in field 'question'; fill it, or give prompt_ids")
            ids = build_prompt(question, self.model, self.tokenizer, self.wording)
        if not ids:
            raise UserError(f"{place}: the prompt has no tokens; fill field 'question' or 'prompt_ids'")
        return ids

    def response(self, place: str, record: Mapping[str, Any]) -> list[int] | None:
        """Return the answer's token ids: the given ones up to the end tokens, or those of the text; else None."""
        if self.questions_only:
            return None
        ids = self.ids(place, record, "response_ids")
        if ids is not None:
            while ids and ids[-1] in self.ends:
                ids.pop()
            return ids
        answer = record.get("answer")
        if answer is not None and not isinstance(answer, str):
            raise UserError(f"{place}: field 'answer' is {type(answer).__name__}, not text; write it in quotes")
        return None if answer is None else list(self.tokenizer(answer, add_special_tokens=False)["input_ids"])

    def ids(self, place: str, record: Mapping[str, Any], field: str) -> list[int] | None:
        """Return token ids of a field, None where it is missing or null."""
        ids = record.get(field)
        if ids is None:
            return None
        if not isinstance(ids, list) or not all(type(token) is int for token in ids):
            raise UserError(f"{place}: field {field!r} is not a list of token ids; give whole numbers, or text instead")
        if unknown := [token for token in ids if not 0 <= token < self.vocabulary]:
            limits = f"has token {unknown[0]}, but the tokens of model {self.model.key} are 0 to {self.vocabulary - 1}"
            raise UserError(f"{place}: field {field!r} {limits}; give the ids of this model's own tokenizer")
        return list(ids)


def answered(
    line: Line, boundaries: Sequence[int], scores: ResponseScores, dopamine: Reader | None, tokenizer: Any
) -> Any:
    """Return a line of the output: the input's fields and `ADDED`."""
    confidence, *values = [round(value, 6) for value in scores.values]
    added: dict[str, Any] = {"confidence": confidence, "value": None, "steps": None, "note": None}
    if line.response_ids is not None:
        texts = paragraph_texts(line.response_ids, boundaries, tokenizer)
        steps: Sequence[float | None] = [None] * len(texts) if scores.steps is None else scores.steps
        added["steps"] = [
            {
                "text": text,
                "start": boundaries[k],
                "end": boundaries[k + 1],
                "tokens": boundaries[k + 1] - boundaries[k],
                "value": values[k],
                "score": None if score is None else round(score, 6),
            }
            for k, (text, score) in enumerate(zip(texts, steps, strict=True))
        ]
        added |= {"value": values[-1] if values else confidence, "note": note(texts, dopamine)}
    return line.record | added


def note(steps: Sequence[str], dopamine: Reader | None) -> str | None:
    """Say what a reader of an answer's scores should know."""
    if not steps:
        return NO_TOKENS
    if dopamine is None:
        return "no dopamine probe: steps have no score; train one, or name a file with --dopamine"
    return WHOLE if dopamine.normalization == "response" else None
