"""Use saved probes on new text: how sure is the model before it answers, and which steps of an answer change that?

    python -m workflow_scripts.score --run grpo/ledger --input questions.jsonl --output scores.jsonl

Input: one JSON object a line (.jsonl, .jsonl.gz), or a .parquet file such as the study's own rollouts. A line has

  question      the question; it is put into the prompt that the study uses for this model and data set
  answer        optional: the answer as text

or token ids, which are taken as they are and go before the texts if a line has both:

  prompt_ids    the whole prompt (in place of question)
  response_ids  the answer (in place of answer); end tokens and padding at its end are left out

A probe reads the states that the model has while it reads these ids, so an answer may come from vLLM, transformers or
anything else. Prefer ids where you have them: text that is turned into tokens again may become other tokens.

Output: the same lines in the same order, with everything that they had, and

  confidence    V(s_0): the predicted chance of a right answer, from the end of the prompt alone
  value         the same at the answer's last token (null without an answer)
  steps         the paragraphs of the answer, in order (null without an answer): text; start and end, its place among
                the answer's tokens; tokens, how many; value, the predicted chance at its end; score, by how much it
                changes the chance as the dopamine probe sees it (null without a dopamine probe)
  note          what to know about the line, or null

All predictions are means over the seeds of the probes trained on true labels, and over all layers in the file unless
--layer names one. Nothing is trained or sampled here.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.lib.config.read import read_study
from workflow_scripts.lib.config.schema import did_you_mean
from workflow_scripts.lib.config.study import pair
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.models.load import (
    ModelConfig,
    end_tokens,
    fingerprint,
    load_model,
    load_tokenizer,
    read_architecture,
    vocabulary_of,
)
from workflow_scripts.lib.models.paragraphs import paragraph_boundaries, paragraph_texts
from workflow_scripts.lib.models.prompts import Wording, build_prompt
from workflow_scripts.lib.models.states import Response
from workflow_scripts.lib.probes.scoring import Reader, Scores, open_probes, score_responses
from workflow_scripts.lib.problems.records import file_records
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.files import atomic_path

ADDED = ("confidence", "value", "steps", "note")
NO_TOKENS = "the answer has no token: it has no steps, and its value is the confidence"
WHOLE = "scores are normalised over the whole answer: they can be had only when it is finished"


@dataclass(frozen=True)
class Line:
    """A line of the input with its token ids; `response_ids` is None for a question alone."""

    place: str
    record: dict[str, Any]
    prompt_ids: list[int]
    response_ids: list[int] | None


class Reading:
    """How lines become token ids: the model's tokenizer, its limits, and the words of the data set.

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
        """A line as token ids.

        Raises:
            UserError: a field is missing, of the wrong kind, taken, or more than the model can read.
        """
        if not isinstance(record, Mapping):
            raise UserError(f"{place}: not a JSON object; write one object with named fields per line")
        if taken := [name for name in ADDED if name in record]:
            raise UserError(f"{place}: has a field {taken[0]!r}, which the output adds; rename it or take it out")
        prompt, response = self.prompt(place, record), self.response(place, record)
        length = len(prompt) + len(response or [])
        if self.context is not None and length > self.context:
            told = f"{length} tokens, but model {self.model.key} reads {self.context}"
            raise UserError(f"{place}: prompt and answer have {told}; shorten or remove the line")
        return Line(place, dict(record), prompt, response)

    def prompt(self, place: str, record: Mapping[str, Any]) -> list[int]:
        """The prompt's token ids: those given, or the study's prompt around the question."""
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
        """The answer's token ids: those given up to the end tokens, or those of the text; None if there is neither."""
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
        """Token ids of a field, None where it is missing or null."""
        ids = record.get(field)
        if ids is None:
            return None
        if not isinstance(ids, list) or not all(type(token) is int for token in ids):
            raise UserError(f"{place}: field {field!r} is not a list of token ids; give whole numbers, or text instead")
        if wrong := [token for token in ids if not 0 <= token < self.vocabulary]:
            told = f"has token {wrong[0]}, but the tokens of model {self.model.key} are 0 to {self.vocabulary - 1}"
            raise UserError(f"{place}: field {field!r} {told}; give the ids of this model's own tokenizer")
        return list(ids)


def open_study(files: Sequence[str], run: str) -> tuple[dict[str, Any], ModelConfig, Wording]:
    """The configuration (later files on top), and the run's model and words around questions.

    Raises:
        UserError: a fault of the configuration, or a run that names what it does not have.
    """
    config, names = read_study(files), pair(run)
    for kind, name in zip(("models", "datasets"), names, strict=True):
        if name not in config[kind]:
            raise UserError(f"--run {run}: {kind} has no entry {name!r}; {did_you_mean(name, list(config[kind]))}")
    dataset = config["datasets"][names[1]]
    words = Wording(dataset["template"], dataset["instruction"], dataset["response_prefix"])
    return config, ModelConfig.from_entry(config["models"][names[0]], names[0]), words


def open_readers(arguments: argparse.Namespace, model: ModelConfig, answers: bool) -> tuple[Reader, Reader | None]:
    """Value probes and, where there are answers, dopamine probes; None if the run has none and none are named."""
    if not 0 < arguments.keep <= 1:
        raise UserError(f"--keep: {arguments.keep} is out of range; give a share above 0, at most 1")
    if arguments.batch_tokens is not None and arguments.batch_tokens < 1:
        raise UserError(f"--batch-tokens: {arguments.batch_tokens} is out of range; give at least 1")
    identity = {"model": model.key, "revision": model.revision}
    identity["fingerprint"] = fingerprint(model.path, model.revision)
    folder = Path("results/probes") / arguments.run
    wanted, default = arguments.dopamine, folder / "dopamine.safetensors"
    options = (identity, arguments.layer, arguments.keep)
    value = open_probes(arguments.value or folder / "value.safetensors", "value", *options)
    if not answers or (wanted is None and not default.is_file()):
        return value, None
    return value, open_probes(wanted or default, "dopamine", *options)


def answered(line: Line, boundaries: Sequence[int], scores: Scores, dopamine: Reader | None, tokenizer: Any) -> Any:
    """A line of the output: the input's fields and `ADDED`."""
    confidence, *values = [round(value, 6) for value in scores.values]
    own: dict[str, Any] = {"confidence": confidence, "value": None, "steps": None, "note": None}
    if line.response_ids is not None:
        texts = paragraph_texts(line.response_ids, boundaries, tokenizer)
        found: Sequence[float | None] = [None] * len(texts) if scores.steps is None else scores.steps
        own["steps"] = [
            {
                "text": text,
                "start": boundaries[k],
                "end": boundaries[k + 1],
                "tokens": boundaries[k + 1] - boundaries[k],
                "value": values[k],
                "score": None if score is None else round(score, 6),
            }
            for k, (text, score) in enumerate(zip(texts, found, strict=True))
        ]
        own |= {"value": values[-1] if values else confidence, "note": note(texts, dopamine)}
    return line.record | own


def note(steps: Sequence[str], dopamine: Reader | None) -> str | None:
    """What a reader of an answer's scores should know."""
    if not steps:
        return NO_TOKENS
    if dopamine is None:
        return "no dopamine probe: steps have no score; train one, or name a file with --dopamine"
    return WHOLE if dopamine.normalization == "response" else None


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--config", nargs="+", default=["config.yaml"], help="configuration files, later ones on top (config.yaml)"
    )
    parser.add_argument("--run", required=True, help="MODEL/DATASET: whose probes, and how questions become prompts")
    parser.add_argument("--input", required=True, type=Path, help="questions, with answers or without")
    parser.add_argument(
        "--questions-only",
        action="store_true",
        help="leave answers alone; for a data set's own file, whose `answer` is the right answer and not the model's",
    )
    parser.add_argument("--output", required=True, type=Path, help="where the scores go, one JSON object a line")
    parser.add_argument("--value", type=Path, help="value probes (results/probes/MODEL/DATASET/value.safetensors)")
    parser.add_argument(
        "--dopamine",
        type=Path,
        help="dopamine probes (results/probes/MODEL/DATASET/dopamine.safetensors). Probes normalised over the response "
        "want finished answers; for answers still being written take dopamine_causal.safetensors",
    )
    parser.add_argument("--layer", type=int, help="read this layer's probes alone (the mean over all layers)")
    parser.add_argument(
        "--keep",
        type=float,
        default=1.0,
        help="share of neurons that a probe may see, the most important ones: 0.01 leaves the value neurons proper (1)",
    )
    parser.add_argument("--batch-tokens", type=int, help="tokens at a time; less takes less memory (the study's)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Read and check everything, then load the model, score, and write the output whole.

    Raises:
        UserError: the first thing that is wrong.
    """
    arguments = read_arguments(argv)
    config, model, wording = open_study(arguments.config, arguments.run)
    reading = Reading(model, wording, arguments.questions_only)
    lines = [reading.line(place, record) for place, record in file_records(arguments.input)]
    readers = open_readers(arguments, model, any(line.response_ids is not None for line in lines))
    responses = [Response(line.place, 0, line.prompt_ids, line.response_ids or []) for line in lines]
    boundaries = [paragraph_boundaries(one.response_ids, reading.tokenizer) for one in responses]
    settings, progress = config["activations"], Progress(len(lines), "lines", "score")
    dtype, tokens = getattr(torch, settings["dtype"]), arguments.batch_tokens or settings["batch_tokens"]
    found: list[Scores] = []
    if lines:
        found = score_responses(load_model(model), responses, boundaries, readers, dtype, tokens, progress.advance)
    with atomic_path(arguments.output) as temporary, temporary.open("w", encoding="utf-8") as file:
        for line, own, scores in zip(lines, boundaries, found, strict=True):
            row = answered(line, own, scores, readers[1], reading.tokenizer)
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    print(f"{arguments.output}: {len(lines)} lines", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
