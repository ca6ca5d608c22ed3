"""Ask a model how sure it is, and read the confidence of its first token (method, section 8; paper, Appendix J)."""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from workflow_scripts.lib.engines.interface import Completion, Engine, Request, Sampling
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, read_architecture
from workflow_scripts.lib.models.prompts import Wording, build_prompt
from workflow_scripts.lib.models.tokens import response_text
from workflow_scripts.lib.progress import Progress

WORDS = (
    "\n\n Rate your confidence in answering this question correctly from 0 to 1 (where 0 means no confidence and 1 "
    "means complete confidence). Only output a single number between 0 and 1. Do not try to solve the question."
)
"""The text after the question, exactly as Appendix J prints it."""
COMPLIANCE = 0.1
"""The least share of the pilot's problems with a number for which the others are asked; 0.9 are needed for a score."""
NUMBER = re.compile(r"(?<![\w.,])[-+\N{MINUS SIGN}]?(?:\d+(?:\.\d*)?|\.\d+)")
UNIT = re.compile(r"\w|\s*%")
"""Text that must not follow the number: a percentage is not a number from 0 to 1, whatever its digits."""
Prompt = tuple[int, ...] | None
"""Token ids of a question that asks for confidence; None where it leaves no room for an answer."""
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "problem_id": pl.String,
    "token": pl.Float64,
    "verbal": pl.Float64,
    "tries": pl.Int64,
    "text": pl.String,
}


@dataclass(frozen=True)
class Verbalized:
    """Verbalized confidence: the number or None, the number of tries, the last answer (None where it was not asked).

    `tries` is 0 where the question leaves no room in the context, None where the pilot ended the asking.
    """

    verbal: float | None = None
    tries: int | None = 0
    text: str | None = None


def parse_confidence(text: str, cut_off: bool = False) -> float | None:
    """Return the number of an answer, if it is the only one, as the model was asked for, and lies in [0, 1].

    Where there are more numbers, the model is solving the question, or its number is part of something else: `1 of 10`,
    `0,8`. `cut_off`: the answer reached the token limit, so that a number at its very end may lack digits.
    """
    number = NUMBER.search(text)
    if number is None or UNIT.match(text, number.end()) or (cut_off and number.end() == len(text)):
        return None
    if re.search(r"\d", text[: number.start()] + text[number.end() :]):
        return None
    value = float(number.group().replace("\N{MINUS SIGN}", "-"))
    return value if 0 <= value <= 1 else None


def shard_prompts(problems: pl.DataFrame, rollouts: pl.DataFrame) -> pl.DataFrame:
    """Return `problem_id`, `question` and `prompt_ids` (those of the rollouts) of a shard, one row per problem, sorted.

    Raises:
        UserError: a problem of the rollouts is not among the problems.
    """
    prompts = rollouts.select("problem_id", "prompt_ids").unique("problem_id", keep="first").sort("problem_id")
    joined = prompts.join(problems.select("problem_id", "question"), on="problem_id", how="left", maintain_order="left")
    unknown = joined.filter(pl.col("question").is_null())["problem_id"].to_list()
    if unknown:
        raise UserError(f"rollouts: problem {unknown[0]} is not among the problems; delete the rollouts and run again")
    return joined


def pilot_questions(problems: pl.DataFrame, size: int | None) -> dict[str, str]:
    """Return the questions of the pilot by problem: the first `size` of the data set, whatever its shards.

    `problems` holds at least these. `size` None: there is no pilot.
    """
    first = problems.filter(pl.col("position") < (size or 0)).sort("position")
    return dict(first.select("problem_id", "question").iter_rows())


def verbal_prompts(
    questions: Mapping[str, str], template: str, model: ModelConfig, tokenizer: Any
) -> dict[str, Prompt]:
    """Return token ids of each question asked for confidence, by problem."""
    context = read_architecture(model.path, model.revision).context
    wording = Wording(template + WORDS, instruction="")
    prompts = {name: tuple(build_prompt(text, model, tokenizer, wording)) for name, text in questions.items()}
    room = math.inf if context is None else context
    return {name: prompt if 0 < len(prompt) < room else None for name, prompt in prompts.items()}


def rounds(tries: int) -> Iterator[range]:
    """Yield the tries in batches: the first alone, which is enough for a model that complies, then all others at once.

    A later try has its own random stream, so drawing it early changes nothing, and its prompt is read once.
    """
    yield range(1)
    if tries > 1:
        yield range(1, tries)


def ask_after_pilot(
    prompts: Mapping[str, Prompt],
    pilot: Mapping[str, Prompt],
    asked: Callable[[Mapping[str, Prompt]], list[Verbalized]],
) -> list[Verbalized]:
    """Ask for every problem of `prompts`, if enough problems of the pilot get a number; `asked` asks for some.

    A model that names no number in the pilot would use every try on every problem, and have no score in the end.
    """
    answers = dict(zip(pilot, asked(pilot), strict=True))
    heard = [answer.verbal is not None for answer in answers.values() if answer.tries]
    if not heard or sum(heard) >= COMPLIANCE * len(heard):
        others = {name: prompt for name, prompt in prompts.items() if name not in answers}
        answers |= dict(zip(others, asked(others), strict=True))
    return [answers.get(name, Verbalized(tries=None)) for name in prompts]


def ask(
    prompts: Mapping[str, Prompt], engine: Engine, sampling: Sampling, tries: int, seed: int, tokenizer: Any
) -> list[Verbalized]:
    """Ask for every problem until a number parses, `tries` times at most."""
    verbalized = {name: Verbalized() for name in prompts}
    waiting = {name: prompt for name, prompt in prompts.items() if prompt is not None}
    for numbers in rounds(tries):
        if not waiting:
            break
        progress = Progress(len(waiting), "problems", f"ask_confidence, try {numbers.start + 1} to {numbers.stop}")
        requests = [
            Request(prompt, tuple(f"{name}/verbal/{n}" for n in numbers), sampling.max_tokens)
            for name, prompt in waiting.items()
        ]
        names = list(waiting)
        for number, answers in engine.generate(requests, sampling, seed):
            verbalized[names[number]] = first_number(answers, numbers.start, tokenizer)
            progress.advance()
        waiting = {name: prompt for name, prompt in waiting.items() if verbalized[name].verbal is None}
    return list(verbalized.values())


def first_number(answers: Sequence[Completion], asked_before: int, tokenizer: Any) -> Verbalized:
    """Return the first of some answers that names a number, or the last of them."""
    verbalized = Verbalized()
    for number, answer in enumerate(answers, asked_before + 1):
        text = response_text(answer.token_ids, tokenizer)
        verbalized = Verbalized(parse_confidence(text, answer.finish_reason == "length"), number, text)
        if verbalized.verbal is not None:
            break
    return verbalized


def first_token_logprobs(prompts: Sequence[Sequence[int]], engine: Engine, stops: Sequence[int]) -> list[float | None]:
    """Return the raw log-probability of the most likely first token after each prompt; an end token counts as one.

    An engine keeps no log-probability of an end token, so those are scored.
    """
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=1)
    requests = [Request(tuple(prompt), ("token",), 1) for prompt in prompts]
    logprobs: list[float | None] = [None] * len(prompts)
    for index, (completion,) in engine.generate(requests, greedy, 0):
        logprobs[index] = completion.logprobs[0] if completion.logprobs else None
    ended = [index for index, value in enumerate(logprobs) if value is None]
    scores = iter(engine.score([[*prompts[index], stop] for index in ended for stop in stops]))
    for index in ended:
        logprobs[index] = max((float(next(scores)[-1]) for _ in stops), default=None)
    return logprobs
