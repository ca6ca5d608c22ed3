"""Rule `guide_search`: answer validation problems by search, for one seed (method, section 9; paper, Table 4).

`dopamine`, `implicit_prm` and `random` choose among candidate paragraphs, `best_of_n` and `majority` among whole
responses that cost the same number of tokens as `dopamine` spent on the same problem (without it: the same number of
responses as there are candidates), `greedy` takes the most likely tokens. Draws beyond that budget are not kept. The
answers of a method that an earlier run found from the same inputs are reused.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.config.sections import Params, load
from workflow_scripts.lib.engines.requests import build_requests
from workflow_scripts.lib.engines.start import LIBRARIES, add_options, sampling_of, start
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.models.load import ModelConfig, identity_of
from workflow_scripts.lib.models.prompts import Wording
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.runtime.reuse import Reuse, digest, environment
from workflow_scripts.lib.search.answer_tables import Tables, joined, tabulate
from workflow_scripts.lib.search.guided import Draws, Prompt
from workflow_scripts.lib.search.methods import CATALOGUE, GUIDE, PROBES
from workflow_scripts.lib.search.run import chosen_problems, rewards_of, search, stored, whole_grader
from workflow_scripts.lib.search.scorers import input_digests, prepare
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet


def origin_of(
    method: str, arguments: argparse.Namespace, params: Params, identity: dict[str, Any], problems: pl.DataFrame
) -> str:
    """Hash all that a method's answers depend on: code, versions, settings, models, problems, inputs of scoring."""
    methods = [method, *([GUIDE] if CATALOGUE[method].kind == "whole" and GUIDE in params.search.methods else [])]
    rows = frozenset(methods)
    used = (("search_methods", rows), ("scorers", rows), ("answer_types", frozenset({params.dataset.answer})))
    versions = environment("guide_search", *LIBRARIES[params.rollouts.engine], used=used)
    settings = params.raw | {"search": params.raw["search"] | {"methods": methods}}
    questions = problems.select("problem_id", "question", "gold", "spec").rows()
    scored_with = input_digests(arguments, methods, params.search.layer)
    return digest(versions, settings, identity, arguments.seed, questions, *scored_with)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, dataset, rollouts, search, activations, grading")
    parser.add_argument("--seed", required=True, type=int)
    parser.add_argument("--problems", required=True, nargs="+")
    for name in PROBES:
        users = ", ".join(key for key, method in CATALOGUE.items() if name in method.needs)
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, help=f"for {users}")
    parser.add_argument("--reference", type=json.loads, help="JSON: the entry of the model that methods score against")
    parser.add_argument("--batch-tokens", type=int, default=16384, help="tokens read at a time; changes no result")
    add_options(parser)
    parser.add_argument("--workers", type=int, default=1, help="processes that grade")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--candidates", required=True, type=Path, help="table of all candidates and their scores")
    return parser.parse_args(argv)


def search_by(
    methods: Sequence[str],
    spent: dict[str, int] | None,
    arguments: argparse.Namespace,
    params: Params,
    model: ModelConfig,
    problems: pl.DataFrame,
) -> Tables:
    """Load what some methods need and search by them; `spent`: tokens by problem of the guide, if it is kept."""
    settings, dataset = params.rollouts, params.dataset
    tokenizer = load_tokenizer(model)
    wording = Wording(dataset.template, dataset.instruction, dataset.response_prefix)
    requests = build_requests(problems, model, tokenizer, 1, settings.max_tokens, wording)
    problem_ids = problems["problem_id"].to_list()
    prompts = [Prompt(name, request.token_ids) for name, request in zip(problem_ids, requests, strict=True)]
    engine = start(settings, model, arguments)
    scoring = prepare(methods, arguments, params, engine, model)
    grade = whole_grader(ResponseGrader.of(problems, dataset, params.grading, arguments.workers), tokenizer)
    draws, n = Draws(engine, arguments.seed), params.search.candidates
    results = search(methods, draws, prompts, scoring, n, sampling_of(settings, logprobs=True), grade, spent)
    rewards = {method: rewards_of(result, grade) for method, result in results.items()}
    return tabulate(results, rewards, arguments.seed, tokenizer)


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    arguments = read_arguments(argv)
    params = load(arguments.params)
    model = ModelConfig.from_entry(params.model)
    identity = same_run(identity_of(model), problems=arguments.problems)
    problems = chosen_problems(read_parquet(arguments.problems), params.search.n_problems)
    origins = {name: origin_of(name, arguments, params, identity, problems) for name in params.search.methods}
    reuse = Reuse([arguments.output, arguments.candidates], stored)
    kept = {name: tables for name, origin in origins.items() if (tables := reuse.get(origin))}
    found = list(kept.values())
    if new := [name for name in params.search.methods if name not in kept]:
        spent = dict(kept[GUIDE][0].select("problem_id", "tokens").iter_rows()) if GUIDE in kept else None
        found.append(search_by(new, spent, arguments, params, model, problems))
    answers, candidates = joined(found)
    metadata = {"seed": arguments.seed, "origins": origins}
    write_parquet(candidates, arguments.candidates, table_metadata("candidates", identity, **metadata))
    write_parquet(answers, arguments.output, table_metadata("search", identity, **metadata))
    reuse.report("methods")
    reuse.keep()


if __name__ == "__main__":
    run_main(main)
