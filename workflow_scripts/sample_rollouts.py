"""Rule `sample_rollouts`: sample responses of a model to the problems of one shard (method, section 2).

The random stream of a response is named by its problem and its number, never by the shard.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.engines.interface import Completion, Request
from workflow_scripts.lib.engines.requests import build_requests, sample_responses, shard_problems
from workflow_scripts.lib.engines.start import add_options, sampling_of, start
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.load import ModelConfig, identity_of
from workflow_scripts.lib.models.prompts import Wording
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.models.tokens import response_text
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "problem_id": pl.String,
    "sample": pl.Int64,
    "prompt_ids": pl.List(pl.Int32),
    "response_ids": pl.List(pl.Int32),
    "logprobs": pl.List(pl.Float32),
    "text": pl.String,
    "finish_reason": pl.String,
}


def tabulate(
    problem_ids: Sequence[str], requests: Sequence[Request], responses: Sequence[Sequence[Completion]], tokenizer: Any
) -> pl.DataFrame:
    """Build a table with one row per response, by problem and sample."""
    rows = [
        (
            problem_id,
            sample,
            request.token_ids,
            c.token_ids,
            c.logprobs,
            response_text(c.token_ids, tokenizer),
            c.finish_reason,
        )
        for problem_id, request, completions in zip(problem_ids, requests, responses, strict=True)
        for sample, c in enumerate(completions)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, dataset (shard_size), rollouts")
    parser.add_argument("--problems", required=True)
    parser.add_argument("--shard", required=True, type=int)
    add_options(parser)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    model, settings = ModelConfig.from_entry(params.model), params.rollouts
    identity = same_run(identity_of(model), problems=arguments.problems)
    problems = shard_problems(read_parquet(arguments.problems), arguments.shard, params.dataset.shard_size)
    tokenizer = load_tokenizer(model)
    wording = Wording(params.dataset.template, params.dataset.instruction, params.dataset.response_prefix)
    requests = build_requests(problems, model, tokenizer, settings.n_samples, settings.max_tokens, wording)
    engine = start(settings, model, arguments)
    responses = sample_responses(engine, requests, sampling_of(settings, logprobs=True), settings.seed)
    table = tabulate(problems["problem_id"].to_list(), requests, responses, tokenizer)
    write_parquet(table, arguments.output, table_metadata("samples", identity, shard=arguments.shard))


if __name__ == "__main__":
    run_main(main)
