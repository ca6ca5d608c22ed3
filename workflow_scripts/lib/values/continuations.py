"""Sample and grade continuations from every paragraph boundary (method, section 5)."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.engines.interface import Completion, Engine, Request, Sampling
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.values.adaptive import Design

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "problem_id": pl.String,
    "sample": pl.Int64,
    "boundary": pl.Int64,
    "continuation": pl.Int64,
    "response_ids": pl.List(pl.Int32),
    "finish_reason": pl.String,
    "reward": pl.Int8,
}

Place = tuple[str, int, int]
"""Problem, sample and boundary."""
Graded = tuple[list[int], str, int]
"""New tokens, finish reason and reward of one continuation."""


@dataclass(frozen=True)
class Prefix:
    """A state to continue from: the prompt and the response so far, and the boundaries with exactly this prefix."""

    problem_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    places: list[Place]

    def request(self, numbers: range, max_tokens: int) -> Request:
        """Return the request for the completions of these numbers within what is left of `max_tokens`."""
        token_ids = self.prompt_ids + self.response_ids
        digest = hashlib.blake2b(np.asarray(token_ids, "<i8").tobytes(), digest_size=16).hexdigest()
        keys = tuple(f"continuation/{self.problem_id}/{digest}/{number}" for number in numbers)
        return Request(token_ids, keys, max_tokens - len(self.response_ids))


def collect_prefixes(rollouts: pl.DataFrame, paragraphs: pl.DataFrame) -> list[Prefix]:
    """List the distinct prefixes at the boundaries k < K of every response (at k = 0 of one without tokens), in order.

    Raises:
        UserError: the paragraphs of a response do not end where the response does.
    """
    starts: dict[tuple[str, int], list[int]] = {}
    ends: dict[tuple[str, int], int] = {}
    for problem_id, sample, start, end in paragraphs.select("problem_id", "sample", "start", "end").iter_rows():
        starts.setdefault((problem_id, sample), []).append(start)
        ends[problem_id, sample] = end
    prefixes: dict[tuple[str, tuple[int, ...], tuple[int, ...]], Prefix] = {}
    columns = rollouts.select("problem_id", "sample", "prompt_ids", "response_ids")
    for problem_id, sample, prompt, response in columns.iter_rows():
        if ends.get((problem_id, sample), 0) != len(response):
            raise UserError(
                f"paragraphs: those of problem {problem_id}, sample {sample} are not those of its response; "
                "delete the paragraphs of this model and data set and run again"
            )
        for boundary, offset in enumerate(starts.get((problem_id, sample), [0])):
            key = (problem_id, tuple(prompt), tuple(response[:offset]))
            prefixes.setdefault(key, Prefix(*key, places=[])).places.append((problem_id, sample, boundary))
    return list(prefixes.values())


def sample_continuations(
    prefixes: Sequence[Prefix], engine: Engine, sampling: Sampling, numbers: range, seed: int
) -> Iterator[tuple[Prefix, list[Completion]]]:
    """Yield each prefix with its completions of these numbers; where no token is left they are empty and cut off."""
    requests = [prefix.request(numbers, sampling.max_tokens) for prefix in prefixes]
    open_ = [index for index, request in enumerate(requests) if request.max_tokens > 0]
    for index in sorted(set(range(len(requests))) - set(open_)):
        yield prefixes[index], [Completion([], [], "length") for _ in numbers]
    for index, completions in engine.generate([requests[index] for index in open_], sampling, seed):
        yield prefixes[open_[index]], completions


@dataclass(frozen=True)
class Sampler:
    """Draws and grades continuations; `seed` names their random streams."""

    engine: Engine
    sampling: Sampling
    seed: int
    tokenizer: Any
    grader: ResponseGrader

    def draw(self, prefixes: Sequence[Prefix], numbers: range) -> Iterator[tuple[Prefix, list[Graded]]]:
        """Yield each prefix with its continuations of these numbers, each graded as the end of its response."""
        which = f" that need more than {numbers.start}" if numbers.start else ""
        progress = Progress(len(prefixes), f"boundaries{which}", "continue_paragraphs")
        sampled: list[tuple[Prefix, list[Completion]]] = []
        for prefix, completions in sample_continuations(prefixes, self.engine, self.sampling, numbers, self.seed):
            sampled.append((prefix, completions))
            progress.advance()
        responses = (
            (prefix.problem_id, [*prefix.response_ids, *one.token_ids], one.finish_reason)
            for prefix, completions in sampled
            for one in completions
        )
        grades = self.grader.grade(responses, self.tokenizer)
        for prefix, completions in sampled:
            yield prefix, [(one.token_ids, one.finish_reason, next(grades).reward) for one in completions]


Draw = Callable[[Sequence[Prefix], range], Iterable[tuple[Prefix, list[Graded]]]]


def continue_all(prefixes: Sequence[Prefix], design: Design, draw: Draw) -> dict[Place, list[Graded]]:
    """Return the continuations of every boundary by their numbers: a round for all, then more where the design goes on.

    `draw` yields prefixes, in any order, with their continuations of some numbers.
    """
    graded: dict[Place, list[Graded]] = {prefix.places[0]: [] for prefix in prefixes}
    undecided = list(prefixes)
    for numbers in design.rounds:
        for prefix, rows in draw(undecided, numbers):
            graded[prefix.places[0]].extend(rows)
        n_right = [sum(reward for *_, reward in graded[prefix.places[0]]) for prefix in undecided]
        undecided = list(compress(undecided, design.goes_on(numbers.stop, np.array(n_right, int))))
    return {place: graded[prefix.places[0]] for prefix in prefixes for place in prefix.places}


def tabulate(graded: dict[Place, list[Graded]], problem_ids: Sequence[str]) -> pl.DataFrame:
    """Tabulate one row per continuation, by problem (in the order given), sample, boundary and number."""
    rank = {problem_id: index for index, problem_id in enumerate(dict.fromkeys(problem_ids))}
    places = sorted(graded, key=lambda place: (rank[place[0]], *place[1:]))
    rows = [(*place, number, *one) for place in places for number, one in enumerate(graded[place])]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")
