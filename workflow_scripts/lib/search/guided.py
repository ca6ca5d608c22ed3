"""Answering by search: paragraph by paragraph under a score, or by picking among whole responses (method, section 9).

Random streams are named by problem, step and candidate, not by method: methods that stand at the same prefix choose
among the same candidates, above all at the first step, and methods that pick among whole responses draw the same ones.
So comparisons between methods are paired, nothing depends on batches, and what several methods draw is drawn once.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from workflow_scripts.lib.engines.interface import Completion, Engine, Request, Sampling
from workflow_scripts.lib.search.step_scores import Step

T = TypeVar("T")


@dataclass(frozen=True)
class Prompt:
    """A problem to answer."""

    problem_id: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class Candidate:
    """What was drawn: paragraph number `number` of `step` (from 1), or a whole response (step 0).

    `score` is None where nothing was compared.
    """

    problem_id: str
    step: int
    number: int
    token_ids: tuple[int, ...]
    finish_reason: str
    score: float | None = None
    chosen: bool = False


@dataclass
class Answered:
    """A response and how it came about. `tokens` counts all that were generated for it, discarded ones included.

    `finish_reason` is `stop`, `length`, or empty while the search goes on; `scores` are those of the chosen candidates,
    `drawn` is the number of candidates.
    """

    problem_id: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...] = ()
    finish_reason: str = ""
    tokens: int = 0
    steps: int = 0
    drawn: int = 0
    scores: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """What a method answered, all that it drew, and the seconds it took (`Draws` says how shared draws count)."""

    answers: list[Answered]
    candidates: list[Candidate]
    seconds: float


Scorer = Callable[[int, Sequence[Answered], Sequence[Sequence[Completion]]], list[list[float]]]
"""From the step's number, the responses so far and the candidates of each to the candidates' scores."""


class Draws:
    """Completions by prefix, stream and settings, each generated once, with the seconds that it took.

    The seconds of a batch are divided among its completions by their tokens. Every method that uses a completion is
    charged for it, so that its time is about what it would be alone.
    """

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine, self.seed = engine, seed
        self.known: dict[tuple[object, ...], tuple[Completion, float]] = {}

    def take(self, requests: Sequence[Request], sampling: Sampling) -> tuple[list[list[Completion]], float]:
        """The completions of every request, in the order of the requests, and their seconds together."""
        names = [self._names(request, sampling) for request in requests]
        missing = []
        for request, own in zip(requests, names, strict=True):
            new = {name: key for name, key in zip(own, request.keys, strict=True) if name not in self.known}
            if new:
                missing.append((replace(request, keys=tuple(new.values())), list(new)))
        if missing:
            self._generate(missing, sampling)
        found = [[self.known[name] for name in own] for own in names]
        seconds = sum(cost for several in found for _, cost in several)
        return [[one for one, _ in several] for several in found], seconds

    def _names(self, request: Request, sampling: Sampling) -> list[tuple[object, ...]]:
        prefix = hashlib.blake2b(np.asarray(request.token_ids, "<i8").tobytes(), digest_size=16).digest()
        return [(prefix, key, request.max_tokens, sampling) for key in request.keys]

    def _generate(self, missing: Sequence[tuple[Request, list[tuple[object, ...]]]], sampling: Sampling) -> None:
        start, drawn = time.perf_counter(), []
        for index, several in self.engine.generate([request for request, _ in missing], sampling, self.seed):
            drawn += list(zip(missing[index][1], several, strict=True))
        rate = (time.perf_counter() - start) / max(sum(cost_of(one) for _, one in drawn), 1)
        self.known |= {name: (one, rate * cost_of(one)) for name, one in drawn}


def cost_of(one: Completion) -> int:
    """Tokens of a completion; one without any costs one, so that what fits into a budget has an end."""
    return max(len(one.token_ids), 1)


def best(scores: Sequence[float]) -> int:
    """The place of the highest score; of equal ones, the first."""
    return max(range(len(scores)), key=lambda place: (scores[place], -place))


def steps_of(open_: Sequence[Answered], found: Sequence[Sequence[Completion]]) -> list[Step]:
    """Every candidate in its place, problem by problem."""
    return [
        Step(answered.prompt_ids, answered.token_ids, tuple(one.token_ids))
        for answered, several in zip(open_, found, strict=True)
        for one in several
    ]


def regroup(flat: Sequence[T], found: Sequence[Sequence[object]]) -> list[list[T]]:
    """Group what belongs to a flat list of candidates problem by problem."""
    given = iter(flat)
    return [[next(given) for _ in several] for several in found]


def guided(draws: Draws, prompts: Sequence[Prompt], score: Scorer, n: int, sampling: Sampling) -> Found:
    """Append the best of `n` candidate paragraphs until it ends the response or `sampling.max_tokens` are reached.

    All problems that are still open take a step together.
    """
    answers = [Answered(prompt.problem_id, prompt.token_ids) for prompt in prompts]
    candidates: list[Candidate] = []
    one_paragraph, step, seconds = replace(sampling, paragraph=True), 0, 0.0
    while open_ := [answered for answered in answers if not answered.finish_reason]:
        step += 1
        found, spent = draws.take([next_request(one, step, n, sampling.max_tokens) for one in open_], one_paragraph)
        start = time.perf_counter()
        scored = score(step, open_, found)
        seconds += spent + time.perf_counter() - start
        for answered, several, scores in zip(open_, found, scored, strict=True):
            chosen = best(scores)
            candidates += noted(answered.problem_id, step, several, scores, chosen)
            append(answered, several, chosen, scores[chosen], sampling.max_tokens)
    return Found(answers, candidates, seconds)


def next_request(answered: Answered, step: int, n: int, max_tokens: int) -> Request:
    """The request for `n` candidate paragraphs within what is left of `max_tokens`."""
    keys = tuple(f"search/{answered.problem_id}/{step}/{number}" for number in range(n))
    return Request(answered.prompt_ids + answered.token_ids, keys, max_tokens - len(answered.token_ids))


def noted(
    problem_id: str, step: int, several: Sequence[Completion], scores: Sequence[float | None], chosen: int
) -> list[Candidate]:
    """The candidates of one problem and step."""
    return [
        Candidate(problem_id, step, k, tuple(one.token_ids), one.finish_reason, scores[k], k == chosen)
        for k, one in enumerate(several)
    ]


def append(answered: Answered, several: Sequence[Completion], chosen: int, score: float, max_tokens: int) -> None:
    """Continue the response by the chosen candidate; a paragraph that leaves no token to generate cuts it off."""
    one = several[chosen]
    answered.token_ids += tuple(one.token_ids)
    answered.tokens += sum(len(other.token_ids) for other in several)
    answered.drawn += len(several)
    answered.steps += 1
    answered.scores.append(score)
    if one.finish_reason != "paragraph":
        answered.finish_reason = one.finish_reason
    elif len(answered.token_ids) >= max_tokens:
        answered.finish_reason = "length"


def greedy(draws: Draws, prompts: Sequence[Prompt], sampling: Sampling) -> Found:
    """The most likely tokens; one response a problem, the same for every seed."""
    requests = [
        Request(prompt.token_ids, (f"search/{prompt.problem_id}/greedy",), sampling.max_tokens) for prompt in prompts
    ]
    found, seconds = draws.take(requests, replace(sampling, temperature=0.0))
    return picked(prompts, found, [[None] for _ in prompts], seconds)


def picked(
    prompts: Sequence[Prompt],
    drawn: Sequence[Sequence[Completion]],
    scores: Sequence[Sequence[float | None]],
    seconds: float,
) -> Found:
    """The whole response with the highest score (of equal ones, the first) for every problem."""
    answers, candidates = [], []
    for prompt, several, own in zip(prompts, drawn, scores, strict=True):
        known = [score for score in own if score is not None]
        chosen = best(known) if known else 0
        one = several[chosen]
        candidates += noted(prompt.problem_id, 0, several, own, chosen)
        answered = Answered(prompt.problem_id, prompt.token_ids, tuple(one.token_ids), one.finish_reason)
        answered.tokens, answered.drawn = sum(len(other.token_ids) for other in several), len(several)
        answered.steps, answered.scores = 1, known[chosen : chosen + 1]
        answers.append(answered)
    return Found(answers, candidates, seconds)
