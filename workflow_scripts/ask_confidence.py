"""Rule `ask_confidence`: ask a model for its confidence before it answers (method, section 8; paper, Appendix J).

`verbal`: the model is asked for its confidence, in its own prompt template without the answer instruction, until its
answer contains a number from 0 to 1; the first problems of the data set come first, and where hardly any gets a number
the others are not asked (`confidence.verbal_pilot`). `token`: the log-probability of the most likely first token of the
response, at the rollouts' own prompt. Random streams are named by problem and try, never by shard or batch.
"""

import argparse
from collections.abc import Sequence
from functools import partial

import polars as pl

from workflow_scripts.lib.confidence.asking import (
    SCHEMA,
    ask,
    ask_after_pilot,
    first_token_logprobs,
    pilot_questions,
    shard_prompts,
    verbal_prompts,
)
from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.engines.start import add_options, sampling_of, start
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.load import ModelConfig, identity_of
from workflow_scripts.lib.models.tokenizer import end_tokens, load_tokenizer
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, dataset (template), rollouts, confidence")
    parser.add_argument("--problems", required=True)
    parser.add_argument("--pilot", nargs="*", default=[], help="problems of the shards that hold the pilot")
    parser.add_argument("--rollouts", required=True, help="the shard with the prompts")
    parser.add_argument("--shard", type=int, help="number of the shard that the rollouts must be")
    add_options(parser)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    model, settings, how = ModelConfig.from_entry(params.model), params.rollouts, params.confidence
    shard_key = {} if arguments.shard is None else {"shard": arguments.shard}
    identity = same_run(identity_of(model) | shard_key, problems=arguments.problems, rollouts=arguments.rollouts)
    same_run({"dataset": identity["dataset"]} if "dataset" in identity else {}, problems=arguments.pilot)
    shard = shard_prompts(read_parquet(arguments.problems), read_parquet(arguments.rollouts))
    tokenizer = load_tokenizer(model)
    engine = start(settings, model, arguments)
    tokens = first_token_logprobs(shard["prompt_ids"].to_list(), engine, end_tokens(model, tokenizer))
    sampling = sampling_of(settings, max_tokens=how.verbal_tokens)
    tries = how.verbal_tries if settings.temperature > 0 else 1  # without sampling, every try gives the same answer
    asked = partial(ask, engine=engine, sampling=sampling, tries=tries, seed=how.seed, tokenizer=tokenizer)
    prompts = partial(verbal_prompts, template=params.dataset.template, model=model, tokenizer=tokenizer)
    pilot = pilot_questions(read_parquet(arguments.pilot), how.verbal_pilot) if arguments.pilot else {}
    questions = dict(shard.select("problem_id", "question").iter_rows())
    verbalized = ask_after_pilot(prompts(questions), prompts(pilot), asked)
    rows = [
        (name, token, one.verbal, one.tries, one.text)
        for name, token, one in zip(questions, tokens, verbalized, strict=True)
    ]
    table = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    write_parquet(table, arguments.output, table_metadata("asked", identity, **shard_key))


if __name__ == "__main__":
    run_main(main)
