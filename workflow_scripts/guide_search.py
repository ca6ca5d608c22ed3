"""Rule `guide_search`: validation problems answered by search, for one seed (method, section 9; paper, Table 4).

`dopamine`, `implicit_prm` and `random` choose among candidate paragraphs, `best_of_n` and `majority` among whole
responses that cost as many tokens as `dopamine` spent on the same problem (without it: as many responses as there are
candidates), `greedy` takes the most likely tokens. What else was drawn for a problem beyond that budget is not kept.
A search that an earlier run made of the same things is taken over.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.config.sections import Params, load
from workflow_scripts.lib.engines.interface import Completion, Sampling
from workflow_scripts.lib.engines.requests import build_requests
from workflow_scripts.lib.engines.start import LIBRARIES, add_options, load_engine, options_of
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.grading.grade import Answer, Grade, Grader, answer_to, grade_all
from workflow_scripts.lib.models.load import ModelConfig, identity_of, load_tokenizer
from workflow_scripts.lib.models.prompts import Wording
from workflow_scripts.lib.models.tokens import response_text
from workflow_scripts.lib.probes.perceptrons import load as load_probes
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.runtime.reuse import digest, earlier, environment, keep, kept_path
from workflow_scripts.lib.search.guided import Draws, Found, Prompt, greedy, guided
from workflow_scripts.lib.search.methods import GUIDED, METHODS
from workflow_scripts.lib.search.scorers import Scoring, prepare, scorer
from workflow_scripts.lib.search.whole_responses import GradeWhole, best_of_n, draw_whole, majority
from workflow_scripts.lib.storage.identity import VERSION, same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_about, read_parquet, write_parquet

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "method": pl.String,
    "problem_id": pl.String,
    "seed": pl.Int64,
    "token_ids": pl.List(pl.Int32),
    "text": pl.String,
    "reward": pl.Int8,
    "finish_reason": pl.String,
    "tokens": pl.Int64,
    "steps": pl.Int64,
    "drawn": pl.Int64,
    "seconds": pl.Float64,
    "scores": pl.List(pl.Float64),
}
CANDIDATES: dict[str, pl.DataType | type[pl.DataType]] = {
    "method": pl.String,
    "problem_id": pl.String,
    "step": pl.Int64,
    "candidate": pl.Int64,
    "token_ids": pl.List(pl.Int32),
    "text": pl.String,
    "score": pl.Float64,
    "chosen": pl.Boolean,
    "finish_reason": pl.String,
}

Tables = tuple[pl.DataFrame, pl.DataFrame]
"""The responses and the candidates."""


def search(
    methods: Sequence[str],
    draws: Draws,
    prompts: Sequence[Prompt],
    scoring: Scoring,
    n: int,
    sampling: Sampling,
    grade: GradeWhole,
) -> dict[str, Found]:
    """What every method finds, in the order of `METHODS`."""
    found: dict[str, Found] = {}
    progress = Progress(len(methods), "methods", "guide_search")
    whole: tuple[list[list[Completion]], float] | None = None
    for method in sorted(methods, key=METHODS.index):
        if method in GUIDED:
            found[method] = guided(draws, prompts, scorer(method, scoring, draws.seed), n, sampling)
        elif method == "greedy":
            found[method] = greedy(draws, prompts, sampling)
        else:
            guide = found.get("dopamine")
            spent = {one.problem_id: one.tokens for one in guide.answers} if guide else None
            whole = whole or draw_whole(draws, prompts, spent, n, sampling)
            if method == "majority":
                found[method] = majority(prompts, *whole, grade)
            else:
                found[method] = best_of_n(prompts, *whole, scoring.value, scoring.reading)
        progress.advance()
    return found


def tabulate(found: dict[str, Found], rewards: dict[str, list[int]], seed: int, tokenizer: Any) -> Tables:
    """The responses and the candidates of all methods, by problem."""
    rows, drawn = [], []
    for method, result in found.items():
        seconds = result.seconds / max(len(result.answers), 1)
        for one, reward in zip(result.answers, rewards[method], strict=True):
            text = response_text(one.token_ids, tokenizer)
            told = (reward, one.finish_reason, one.tokens, one.steps, one.drawn, seconds, one.scores)
            rows.append((method, one.problem_id, seed, one.token_ids, text, *told))
        for other in result.candidates:
            named, text = (other.problem_id, other.step, other.number), response_text(other.token_ids, tokenizer)
            drawn.append((method, *named, other.token_ids, text, other.score, other.chosen, other.finish_reason))
    place = pl.col("method").replace_strict({name: k for k, name in enumerate(METHODS)}, return_dtype=pl.Int64)
    answers = pl.DataFrame(rows, schema=SCHEMA, orient="row").sort(place, "problem_id")
    candidates = pl.DataFrame(drawn, schema=CANDIDATES, orient="row")
    return answers, candidates.sort(place, "problem_id", "step", "candidate")


def chosen_problems(problems: pl.DataFrame, n: int | None) -> pl.DataFrame:
    """The first `n` validation problems (None: all), in the order of the data set."""
    found = problems.filter(pl.col("split") == "validation").sort("position")
    return found if n is None else found.head(n)


def grading(problems: pl.DataFrame, opening: str, tokenizer: Any, grader: Grader, workers: int) -> GradeWhole:
    """A function that grades several responses to each of some problems; one that was cut off is wrong."""
    known = {row["problem_id"]: row for row in problems.select("problem_id", "gold", "spec").to_dicts()}

    def answer(problem_id: str, token_ids: Sequence[int], reason: str) -> Answer:
        text = response_text(token_ids, tokenizer) if reason == "stop" else ""
        return answer_to(known[problem_id], opening, text, reason)

    def grade(ids: Sequence[str], responses: Sequence[Sequence[Completion]]) -> list[list[Grade]]:
        asked = [
            answer(problem_id, one.token_ids, one.finish_reason)
            for problem_id, several in zip(ids, responses, strict=True)
            for one in several
        ]
        graded = iter(list(grade_all(asked, grader, workers)))
        return [[next(graded) for _ in several] for several in responses]

    return grade


def rewards_of(result: Found, grade: GradeWhole) -> list[int]:
    """The rewards of a method's responses."""
    responses = [[Completion(list(one.token_ids), [], one.finish_reason)] for one in result.answers]
    return [graded[0].reward for graded in grade([one.problem_id for one in result.answers], responses)]


def origin_of(arguments: argparse.Namespace, params: Params, identity: dict[str, Any], problems: pl.DataFrame) -> str:
    """A hash of all that the search comes from: code, versions, settings, models, problems, the layer's probes."""
    reference = ModelConfig.from_entry(arguments.reference) if arguments.reference else None
    versions = environment("guide_search", *LIBRARIES[params.rollouts.engine])
    parts: list[Any] = [versions, params.raw, identity, reference and identity_of(reference), arguments.seed]
    parts.append(problems.select("problem_id", "question", "gold", "spec").rows())
    for path in filter(None, (arguments.dopamine_probes, arguments.value_probes)):
        probes, about = load_probes(path)
        read = probes.of(layer=params.search.layer, labels="true")
        told = [about.get(key) for key in ("kind", "dataset", *VERSION)]
        parts += [told, about.get("config", {}).get("normalization"), read.w1, read.b1, read.w2, read.b2]
        parts += [read.mean, read.scale]
    return digest(*parts)


def stored(answers: Path, candidates: Path, origin: str) -> Tables | None:
    """The tables of an earlier run, if both are of this origin."""
    if any(read_about(path, ["origin"]) != {"origin": origin} for path in (answers, candidates)):
        return None
    return read_parquet(answers), read_parquet(candidates)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, dataset, rollouts, search, activations, grading")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--problems", required=True, nargs="+")
    parser.add_argument("--dopamine-probes", type=Path, help="trained on causal features; for dopamine")
    parser.add_argument("--value-probes", type=Path, help="for best_of_n")
    parser.add_argument("--reference", type=json.loads, help="JSON: the entry of the model that implicit_prm wants")
    parser.add_argument("--batch-tokens", type=int, default=16384, help="tokens read at a time; changes no result")
    add_options(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes that grade")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--candidates", required=True, type=Path, help="where all candidates and their scores go")
    return parser.parse_args(argv)


def search_all(arguments: argparse.Namespace, params: Params, model: ModelConfig, problems: pl.DataFrame) -> Tables:
    """Load what is needed and search by all methods."""
    settings, dataset = params.rollouts, params.dataset
    tokenizer = load_tokenizer(model)
    wording = Wording(dataset.template, dataset.instruction, dataset.response_prefix)
    asked = build_requests(problems, model, tokenizer, 1, settings.max_tokens, wording)
    prompts = [Prompt(name, one.token_ids) for name, one in zip(problems["problem_id"].to_list(), asked, strict=True)]
    engine = load_engine(settings.engine, model, options_of(arguments))
    scoring = prepare(arguments, params, engine, model)
    sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens, settings.stop)
    grader = Grader(dataset.answer, params.grading.allow_unsandboxed)
    grade = grading(problems, dataset.response_prefix, tokenizer, grader, arguments.workers)
    n = params.search.candidates
    found = search(params.search.methods, Draws(engine, arguments.seed), prompts, scoring, n, sampling, grade)
    rewards = {method: rewards_of(result, grade) for method, result in found.items()}
    return tabulate(found, rewards, arguments.seed, tokenizer)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    arguments = read_arguments(argv)
    params = load(arguments.params)
    model = ModelConfig.from_entry(params.model)
    identity = same_run(identity_of(model), problems=arguments.problems)
    problems = chosen_problems(read_parquet(arguments.problems), params.search.n_problems)
    origin = origin_of(arguments, params, identity, problems)
    held: Tables | None = earlier(
        arguments.output, lambda path: stored(path, kept_path(arguments.candidates), origin), None
    )
    if held:
        print("kept the search of an earlier run, which was made of the same things", file=sys.stderr)
    answers, candidates = held or search_all(arguments, params, model, problems)
    about = {"seed": arguments.seed, "origin": origin}
    write_parquet(candidates, arguments.candidates, table_metadata("candidates", identity, **about))
    write_parquet(answers, arguments.output, table_metadata("search", identity, **about))
    keep(arguments.candidates)
    keep(arguments.output)


if __name__ == "__main__":
    run_main(main)
