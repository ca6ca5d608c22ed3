"""Rule `continue_paragraphs`: completions sampled from every paragraph boundary, and whether they end right (method,
section 5).

From the state at boundary k < K of a response (its prompt and first c_k tokens, as token ids) `n_continuations`
completions are sampled with the rollouts' settings, each with the tokens that the response had left. A completion that
reaches its limit is wrong. A response without tokens (K = 0) is continued from its prompt, so that it has a value too.
With `values.adaptive` they are sampled and graded in rounds, each for the boundaries that are still uncertain
(`values.adaptive`); the continuations are those that a fixed number would have begun with.

The random stream of a continuation is named by its problem, its prefix and its number. So neither shards nor batches
nor the order of the responses change it, and responses of one problem that share a prefix (s_0 above all) share its
completions: it is the same state.
"""

import argparse
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.engines.interface import Completion, Engine, Request, Sampling
from workflow_scripts.lib.engines.start import add_options, load_engine, options_of
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.grading.grade import Answer, Grader, answer_to, grade_all
from workflow_scripts.lib.models.load import ModelConfig, identity_of, load_tokenizer
from workflow_scripts.lib.models.tokens import response_text
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.values.adaptive import Design, design_of
from workflow_scripts.lib.values.responses import valued_rollouts

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
    """A state to continue from: the prompt and the response so far, and the boundaries that have just this prefix."""

    problem_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    places: list[Place]

    def request(self, numbers: range, max_tokens: int) -> Request:
        """The request for the completions of these numbers within what is left of `max_tokens`."""
        token_ids = self.prompt_ids + self.response_ids
        digest = hashlib.blake2b(np.asarray(token_ids, "<i8").tobytes(), digest_size=16).hexdigest()
        keys = tuple(f"continuation/{self.problem_id}/{digest}/{number}" for number in numbers)
        return Request(token_ids, keys, max_tokens - len(self.response_ids))


def collect_prefixes(rollouts: pl.DataFrame, paragraphs: pl.DataFrame) -> list[Prefix]:
    """The distinct prefixes at the boundaries k < K of every response (at k = 0 of one without tokens), in order.

    Raises:
        UserError: the paragraphs of a response do not end where the response does.
    """
    starts: dict[tuple[str, int], list[int]] = {}
    ends: dict[tuple[str, int], int] = {}
    for problem_id, sample, start, end in paragraphs.select("problem_id", "sample", "start", "end").iter_rows():
        starts.setdefault((problem_id, sample), []).append(start)
        ends[problem_id, sample] = end
    found: dict[tuple[str, tuple[int, ...], tuple[int, ...]], Prefix] = {}
    columns = rollouts.select("problem_id", "sample", "prompt_ids", "response_ids")
    for problem_id, sample, prompt, response in columns.iter_rows():
        if ends.get((problem_id, sample), 0) != len(response):
            raise UserError(
                f"paragraphs: those of problem {problem_id}, sample {sample} are not those of its response; "
                "delete the paragraphs of this model and data set and run again"
            )
        for boundary, offset in enumerate(starts.get((problem_id, sample), [0])):
            key = (problem_id, tuple(prompt), tuple(response[:offset]))
            found.setdefault(key, Prefix(*key, places=[])).places.append((problem_id, sample, boundary))
    return list(found.values())


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


def answers(
    prefix: Prefix, completions: Sequence[Completion], tokenizer: Any, problem: dict[str, Any], opening: str
) -> list[Answer]:
    """Each completion as the whole response that it ends, which begins with `opening`; a cut-off one has no text."""
    texts = (
        response_text([*prefix.response_ids, *one.token_ids], tokenizer) if one.finish_reason == "stop" else ""
        for one in completions
    )
    return [answer_to(problem, opening, text, one.finish_reason) for text, one in zip(texts, completions, strict=True)]


@dataclass(frozen=True)
class Sampler:
    """All that drawing and grading continuations takes; `problems` by their ids, answers begin with `opening`."""

    engine: Engine
    sampling: Sampling
    seed: int
    tokenizer: Any
    problems: dict[str, dict[str, Any]]
    opening: str
    grader: Grader
    workers: int

    def draw(self, prefixes: Sequence[Prefix], numbers: range) -> Iterator[tuple[Prefix, list[Graded]]]:
        """Yield each prefix with its continuations of these numbers."""
        which = f" that need more than {numbers.start}" if numbers.start else ""
        progress = Progress(len(prefixes), f"boundaries{which}", "continue_paragraphs")
        sampled: list[tuple[Prefix, list[Completion]]] = []
        asked: list[Answer] = []
        for prefix, found in sample_continuations(prefixes, self.engine, self.sampling, numbers, self.seed):
            sampled.append((prefix, found))
            asked += answers(prefix, found, self.tokenizer, self.problems[prefix.problem_id], self.opening)
            progress.advance()
        grades = grade_all(asked, self.grader, self.workers)
        for prefix, found in sampled:
            yield prefix, [(one.token_ids, one.finish_reason, next(grades).reward) for one in found]


Draw = Callable[[Sequence[Prefix], range], Iterable[tuple[Prefix, list[Graded]]]]


def continue_all(prefixes: Sequence[Prefix], design: Design, draw: Draw) -> dict[Place, list[Graded]]:
    """The continuations of every boundary by their numbers: a round for all, then where the design goes on.

    `draw` gives prefixes, in any order, with their continuations of some numbers.
    """
    graded: dict[Place, list[Graded]] = {prefix.places[0]: [] for prefix in prefixes}
    unsettled = list(prefixes)
    for numbers in design.rounds:
        for prefix, rows in draw(unsettled, numbers):
            graded[prefix.places[0]].extend(rows)
        n_right = [sum(reward for *_, reward in graded[prefix.places[0]]) for prefix in unsettled]
        unsettled = list(compress(unsettled, design.goes_on(numbers.stop, np.array(n_right, int))))
    return {place: graded[prefix.places[0]] for prefix in prefixes for place in prefix.places}


def tabulate(graded: dict[Place, list[Graded]], problem_ids: Sequence[str]) -> pl.DataFrame:
    """One row a continuation, by problem (in the order given), sample, boundary and number."""
    rank = {problem_id: index for index, problem_id in enumerate(dict.fromkeys(problem_ids))}
    places = sorted(graded, key=lambda place: (rank[place[0]], *place[1:]))
    rows = [(*place, number, *one) for place in places for number, one in enumerate(graded[place])]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, dataset, rollouts, values, grading")
    parser.add_argument("--shard", required=True, type=int, help="number of the shard of valued problems")
    parser.add_argument("--problems", required=True, nargs="+")
    parser.add_argument("--rollouts", required=True, nargs="+", help="the shards that hold the problems of this one")
    parser.add_argument("--paragraphs", required=True)
    add_options(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes that grade")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    model, settings, values = ModelConfig.from_entry(params.model), params.rollouts, params.values
    identity = same_run(identity_of(model), problems=arguments.problems, rollouts=arguments.rollouts)
    same_run(identity | {"shard": arguments.shard}, paragraphs=arguments.paragraphs)
    problems = read_parquet(arguments.problems)
    rollouts = valued_rollouts(problems, read_parquet(arguments.rollouts), values, arguments.shard)
    prefixes = collect_prefixes(rollouts, read_parquet(arguments.paragraphs))
    known = {row["problem_id"]: row for row in problems.select("problem_id", "gold", "spec").to_dicts()}
    tokenizer = load_tokenizer(model)
    engine = load_engine(settings.engine, model, options_of(arguments))
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens, settings.stop, logprobs=False)
    grader = Grader(params.dataset.answer, params.grading.allow_unsandboxed)
    opening, workers = params.dataset.response_prefix, arguments.workers
    sampler = Sampler(engine, sampling, values.seed, tokenizer, known, opening, grader, workers)
    graded = continue_all(prefixes, design_of(values), sampler.draw)
    table = tabulate(graded, rollouts["problem_id"].to_list())
    write_parquet(table, arguments.output, table_metadata("continuations", identity, shard=arguments.shard))


if __name__ == "__main__":
    run_main(main)
