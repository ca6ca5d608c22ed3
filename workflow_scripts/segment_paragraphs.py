"""Rule `segment_paragraphs`: find the beginning and end of every paragraph of the valued responses (method, section 5).

A shard covers the problems at positions [shard * shard_size, (shard + 1) * shard_size) of the first `n_problems`. A
response without tokens has no paragraphs, and so no row.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.models.paragraphs import paragraph_boundaries, paragraph_texts
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.values.responses import valued_rollouts

SCHEMA = {
    "problem_id": pl.String,
    "sample": pl.Int64,
    "paragraph": pl.Int64,
    "start": pl.Int64,
    "end": pl.Int64,
    "text": pl.String,
}


def segment(rollouts: pl.DataFrame, tokenizer: Any) -> pl.DataFrame:
    """Build one row per paragraph: problem_id, sample, paragraph (1..K), start (c_{k-1}), end (c_k), text."""
    rows: list[tuple[str, int, int, int, int, str]] = []
    for problem_id, sample, token_ids in rollouts.select("problem_id", "sample", "response_ids").iter_rows():
        boundaries = paragraph_boundaries(token_ids, tokenizer)
        texts = paragraph_texts(token_ids, boundaries, tokenizer)
        for number, text in enumerate(texts, 1):
            rows.append((problem_id, sample, number, boundaries[number - 1], boundaries[number], text))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, values (n_problems, shard_size)")
    parser.add_argument("--shard", required=True, type=int, help="number of the shard of valued problems")
    parser.add_argument("--problems", required=True, nargs="+")
    parser.add_argument("--rollouts", required=True, nargs="+", help="the shards with the problems of this one")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    model = ModelConfig.from_entry(params.model)
    expected = {"model": model.key, "revision": model.revision}
    identity = same_run(expected, problems=arguments.problems, rollouts=arguments.rollouts)
    rollouts = valued_rollouts(
        read_parquet(arguments.problems), read_parquet(arguments.rollouts), params.values, arguments.shard
    )
    paragraphs = segment(rollouts, load_tokenizer(model))
    write_parquet(paragraphs, arguments.output, table_metadata("paragraphs", identity, shard=arguments.shard))


if __name__ == "__main__":
    run_main(main)
