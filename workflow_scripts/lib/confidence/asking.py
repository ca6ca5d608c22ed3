"""Ask a model how sure it is, and read the confidence of its first token (method, section 8; paper, Appendix J)."""

import re
from collections.abc import Iterator, Sequence
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
"""What follows the question, to the letter as Appendix J prints it."""
NUMBER = re.compile(r"(?<![\w.,])[-+\N{MINUS SIGN}]?(?:\d+(?:\.\d*)?|\.\d+)")
UNIT = re.compile(r"\w|\s*%")
"""What must not follow it: a percentage is no number from 0 to 1, whatever its digits."""
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "problem_id": pl.String,
    "token": pl.Float64,
    "verbal": pl.Float64,
    "tries": pl.Int64,
    "text": pl.String,
}


@dataclass(frozen=True)
class Spoken:
    """What a model said: the number or none, how often it was asked, its last answer (none where it was not asked)."""

    verbal: float | None = None
    tries: int = 0
    text: str | None = None


def parse_confidence(text: str, cut_off: bool = False) -> float | None:
    """The number of an answer, if it is the only one, as the model was told, and lies in [0, 1].

    Where there are more the model is solving the question, or its number is part of something else: `1 of 10`, `0,8`.
    `cut_off`: the answer reached the token limit, so that a number at its very end may lack digits.
    """
    found = NUMBER.search(text)
    if found is None or UNIT.match(text, found.end()) or (cut_off and found.end() == len(text)):
        return None
    if re.search(r"\d", text[: found.start()] + text[found.end() :]):
        return None
    value = float(found.group().replace("\N{MINUS SIGN}", "-"))
    return value if 0 <= value <= 1 else None


def shard_prompts(problems: pl.DataFrame, rollouts: pl.DataFrame) -> pl.DataFrame:
    """`problem_id`, `question` and `prompt_ids` (the rollouts' own prompt) of a shard, one row a problem, sorted.

    Raises:
        UserError: a problem of the rollouts is not among the problems.
    """
    prompts = rollouts.select("problem_id", "prompt_ids").unique("problem_id", keep="first").sort("problem_id")
    joined = prompts.join(problems.select("problem_id", "question"), on="problem_id", how="left", maintain_order="left")
    unknown = joined.filter(pl.col("question").is_null())["problem_id"].to_list()
    if unknown:
        raise UserError(f"rollouts: problem {unknown[0]} is not among the problems; delete the rollouts and run again")
    return joined


def verbal_prompts(
    questions: Sequence[str], template: str, model: ModelConfig, tokenizer: Any
) -> list[tuple[int, ...] | None]:
    """Token ids of each question asked for confidence; None where no token comes out or no answer fits the context."""
    context = read_architecture(model.path, model.revision).context
    wording = Wording(template + WORDS, instruction="")
    prompts = (tuple(build_prompt(question, model, tokenizer, wording)) for question in questions)
    return [prompt if prompt and (context is None or len(prompt) < context) else None for prompt in prompts]


def rounds(tries: int) -> Iterator[range]:
    """The tries in batches: the first alone, which is enough for a model that follows, then all others at once.

    A later try is drawn from a stream of its own, so asking it early changes nothing, and its prompt is read once.
    """
    yield range(1)
    if tries > 1:
        yield range(1, tries)


def ask(
    problem_ids: Sequence[str],
    prompts: Sequence[tuple[int, ...] | None],
    engine: Engine,
    sampling: Sampling,
    tries: int,
    seed: int,
    tokenizer: Any,
) -> list[Spoken]:
    """Ask for every problem until a number parses, `tries` times at most."""
    spoken = [Spoken() for _ in problem_ids]
    waiting = [place for place, prompt in enumerate(prompts) if prompt is not None]
    for numbers in rounds(tries):
        progress = Progress(len(waiting), "problems", f"ask_confidence, try {numbers.start + 1} to {numbers.stop}")
        requests = [
            Request(
                prompts[place] or (), tuple(f"{problem_ids[place]}/verbal/{n}" for n in numbers), sampling.max_tokens
            )
            for place in waiting
        ]
        for index, answers in engine.generate(requests, sampling, seed):
            spoken[waiting[index]] = first_number(answers, numbers.start, tokenizer)
            progress.advance()
        waiting = [place for place in waiting if spoken[place].verbal is None]
    return spoken


def first_number(answers: Sequence[Completion], asked_before: int, tokenizer: Any) -> Spoken:
    """The first of some answers that names a number, or the last of them."""
    said = Spoken()
    for number, answer in enumerate(answers, asked_before + 1):
        text = response_text(answer.token_ids, tokenizer)
        said = Spoken(parse_confidence(text, answer.finish_reason == "length"), number, text)
        if said.verbal is not None:
            break
    return said


def first_token_logprobs(prompts: Sequence[Sequence[int]], engine: Engine, stops: Sequence[int]) -> list[float | None]:
    """Raw log-probability of the most likely first token after each prompt; an end token counts as one.

    An engine keeps no log-probability of an end token, so those are scored.
    """
    greedy = Sampling(temperature=0.0, top_p=1.0, max_tokens=1)
    requests = [Request(tuple(prompt), ("token",), 1) for prompt in prompts]
    found: list[float | None] = [None] * len(prompts)
    for index, (completion,) in engine.generate(requests, greedy, 0):
        found[index] = completion.logprobs[0] if completion.logprobs else None
    ended = [index for index, value in enumerate(found) if value is None]
    scores = iter(engine.score([[*prompts[index], stop] for index in ended for stop in stops]))
    for index in ended:
        found[index] = max((float(next(scores)[-1]) for _ in stops), default=None)
    return found
