"""Answering by search: paragraph by paragraph under a score, or by picking among whole responses (method, section 9).

Random streams are named by problem, step and candidate, not by method: methods at the same prefix choose among the same
candidates, above all at the first step, and methods that pick among whole responses draw the same ones. So comparisons
between methods are paired, nothing depends on batches, and draws shared by several methods are generated once.
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
    """A drawn candidate: paragraph number `number` of `step` (from 1), or a whole response (step 0).

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
    """A response of a search. `tokens` counts all that were generated for it, including discarded ones.

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
class MethodResult:
    """The answers of a method, all its candidates, and the seconds it took (`Draws` says how shared draws count)."""

    answers: list[Answered]
    candidates: list[Candidate]
    seconds: float


Scorer = Callable[[int, Sequence[Answered], Sequence[Sequence[Completion]]], list[list[float]]]
"""From the step's number, the responses so far and the candidates of each to the candidates' scores."""


class Draws:
    """Completions by prefix, stream and settings, each generated once, with the seconds that it took.

    The seconds of a batch are divided among its completions by their tokens. Every method that uses a completion is
    charged for it, so that its time is about that of a run with this method only.
    """

    def __init__(self, engine: Engine, seed: int) -> None:
        self.engine, self.seed = engine, seed
        self.known: dict[tuple[object, ...], tuple[Completion, float]] = {}

    def take(self, requests: Sequence[Request], sampling: Sampling) -> tuple[list[list[Completion]], float]:
        """Return the completions of every request, in the order of the requests, and their total seconds."""
        names = [self._names(request, sampling) for request in requests]
        missing = []
        for request, keys in zip(requests, names, strict=True):
            new = {name: key for name, key in zip(keys, request.keys, strict=True) if name not in self.known}
            if new:
                missing.append((replace(request, keys=tuple(new.values())), list(new)))
        if missing:
            self._generate(missing, sampling)
        drawn = [[self.known[name] for name in keys] for keys in names]
        seconds = sum(cost for of_request in drawn for _, cost in of_request)
        return [[one for one, _ in of_request] for of_request in drawn], seconds

    def _names(self, request: Request, sampling: Sampling) -> list[tuple[object, ...]]:
        prefix = hashlib.blake2b(np.asarray(request.token_ids, "<i8").tobytes(), digest_size=16).digest()
        return [(prefix, key, request.max_tokens, sampling) for key in request.keys]

    def _generate(self, missing: Sequence[tuple[Request, list[tuple[object, ...]]]], sampling: Sampling) -> None:
        start, drawn = time.perf_counter(), []
        for index, completions in self.engine.generate([request for request, _ in missing], sampling, self.seed):
            drawn += list(zip(missing[index][1], completions, strict=True))
        rate = (time.perf_counter() - start) / max(sum(cost_of(one) for _, one in drawn), 1)
        self.known |= {name: (one, rate * cost_of(one)) for name, one in drawn}


def cost_of(one: Completion) -> int:
    """Count the tokens of a completion; an empty one counts as one, so that a budget is used up eventually."""
    return max(len(one.token_ids), 1)


def best(scores: Sequence[float]) -> int:
    """Return the index of the highest score; of equal ones, the first."""
    return max(range(len(scores)), key=lambda index: (scores[index], -index))


def steps_of(open_: Sequence[Answered], drawn: Sequence[Sequence[Completion]]) -> list[Step]:
    """List every candidate as a step, problem by problem."""
    return [
        Step(answered.prompt_ids, answered.token_ids, tuple(one.token_ids))
        for answered, candidates in zip(open_, drawn, strict=True)
        for one in candidates
    ]


def regroup(flat: Sequence[T], groups: Sequence[Sequence[object]]) -> list[list[T]]:
    """Group the items of a flat list of candidates problem by problem."""
    items = iter(flat)
    return [[next(items) for _ in group] for group in groups]


def guided(draws: Draws, prompts: Sequence[Prompt], score: Scorer, n: int, sampling: Sampling) -> MethodResult:
    """Append the best of `n` candidate paragraphs until it ends the response or `sampling.max_tokens` are reached.

    All problems that are still open take a step together.
    """
    answers = [Answered(prompt.problem_id, prompt.token_ids) for prompt in prompts]
    candidates: list[Candidate] = []
    one_paragraph, step, seconds = replace(sampling, paragraph=True), 0, 0.0
    while open_ := [answered for answered in answers if not answered.finish_reason]:
        step += 1
        drawn, spent = draws.take([next_request(one, step, n, sampling.max_tokens) for one in open_], one_paragraph)
        start = time.perf_counter()
        scored = score(step, open_, drawn)
        seconds += spent + time.perf_counter() - start
        for answered, completions, scores in zip(open_, drawn, scored, strict=True):
            chosen = best(scores)
            candidates += candidates_of(answered.problem_id, step, completions, scores, chosen)
            append(answered, completions, chosen, scores[chosen], sampling.max_tokens)
    return MethodResult(answers, candidates, seconds)


def next_request(answered: Answered, step: int, n: int, max_tokens: int) -> Request:
    """Return the request for `n` candidate paragraphs within what is left of `max_tokens`."""
    keys = tuple(f"search/{answered.problem_id}/{step}/{number}" for number in range(n))
    return Request(answered.prompt_ids + answered.token_ids, keys, max_tokens - len(answered.token_ids))


def candidates_of(
    problem_id: str, step: int, completions: Sequence[Completion], scores: Sequence[float | None], chosen: int
) -> list[Candidate]:
    """Return the candidates of one problem and step."""
    return [
        Candidate(problem_id, step, k, tuple(one.token_ids), one.finish_reason, scores[k], k == chosen)
        for k, one in enumerate(completions)
    ]


def append(answered: Answered, completions: Sequence[Completion], chosen: int, score: float, max_tokens: int) -> None:
    """Continue the response by the chosen candidate; a paragraph that leaves no token to generate cuts it off."""
    one = completions[chosen]
    answered.token_ids += tuple(one.token_ids)
    answered.tokens += sum(len(other.token_ids) for other in completions)
    answered.drawn += len(completions)
    answered.steps += 1
    answered.scores.append(score)
    if one.finish_reason != "paragraph":
        answered.finish_reason = one.finish_reason
    elif len(answered.token_ids) >= max_tokens:
        answered.finish_reason = "length"


def greedy(draws: Draws, prompts: Sequence[Prompt], sampling: Sampling) -> MethodResult:
    """Answer with the most likely tokens; one response per problem, the same for every seed."""
    requests = [
        Request(prompt.token_ids, (f"search/{prompt.problem_id}/greedy",), sampling.max_tokens) for prompt in prompts
    ]
    drawn, seconds = draws.take(requests, replace(sampling, temperature=0.0))
    return picked(prompts, drawn, [[None] for _ in prompts], seconds)


def picked(
    prompts: Sequence[Prompt],
    drawn: Sequence[Sequence[Completion]],
    scores: Sequence[Sequence[float | None]],
    seconds: float,
) -> MethodResult:
    """Answer every problem with its whole response of the highest score (of equal ones, the first)."""
    answers, candidates = [], []
    for prompt, completions, scores_here in zip(prompts, drawn, scores, strict=True):
        known = [score for score in scores_here if score is not None]
        chosen = best(known) if known else 0
        one = completions[chosen]
        candidates += candidates_of(prompt.problem_id, 0, completions, scores_here, chosen)
        answered = Answered(prompt.problem_id, prompt.token_ids, tuple(one.token_ids), one.finish_reason)
        answered.tokens, answered.drawn = sum(len(other.token_ids) for other in completions), len(completions)
        answered.steps, answered.scores = 1, known[chosen : chosen + 1]
        answers.append(answered)
    return MethodResult(answers, candidates, seconds)
