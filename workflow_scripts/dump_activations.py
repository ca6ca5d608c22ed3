"""Rule `dump_activations`: hidden states of the responses of one shard, by teacher forcing (method, section 1)."""

import argparse
from collections.abc import Sequence

import polars as pl
import torch

from workflow_scripts.lib.activations import Response, dump, write_activations
from workflow_scripts.lib.config import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.identity import agree, identity_of
from workflow_scripts.lib.models import ModelConfig, decoder_blocks, load_model
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.tables import check_once, read_parquet


def read_responses(rollouts: pl.DataFrame) -> list[Response]:
    """The responses of a rollouts table, in its order.

    Raises:
        UserError: one stands twice.
    """
    check_once(rollouts, ["problem_id", "sample"], "rollouts")
    columns = rollouts.select("problem_id", "sample", "prompt_ids", "response_ids")
    return [Response(*row) for row in columns.iter_rows()]


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, activations (layers, dtype)")
    parser.add_argument("--rollouts", required=True)
    parser.add_argument("--dataset", required=True, help="name of the data set, for the metadata")
    parser.add_argument("--shard", required=True, type=int, help="number of the shard, for the metadata")
    parser.add_argument("--batch-tokens", required=True, type=int, help="tokens at a time; changes no result")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    config, settings = ModelConfig.from_entry(params.model), params.activations
    identity = identity_of(config, arguments.dataset) | {"shard": arguments.shard}
    agree(identity, rollouts=arguments.rollouts)
    model = load_model(config)
    responses = read_responses(read_parquet(arguments.rollouts))
    progress = Progress(len(responses), "responses", "dump_activations")
    dtype = getattr(torch, settings.dtype)
    states = dump(model, responses, settings.layers, dtype, arguments.batch_tokens, progress.advance)
    metadata = identity | {"dtype": settings.dtype, "n_layers": len(decoder_blocks(model))}
    write_activations(states, metadata, arguments.output)


if __name__ == "__main__":
    run_main(main)
