"""Rule `dump_activations`: compute hidden states of the responses of one shard by teacher forcing (method, section 1).

The pass computes the layers that no earlier run has stored already.
"""

import argparse
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import write_activations
from workflow_scripts.lib.models.load import ModelConfig, decoder_blocks, identity_of, load_model
from workflow_scripts.lib.models.states import Response, dump, read_responses
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.runtime.reuse import Reuse, digest, environment
from workflow_scripts.lib.storage.identity import same_run
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.storage.tensors import read_metadata, read_safetensors


def origins_of(
    model: dict[str, Any], weights: str, dtype: str, responses: Sequence[Response], layers: Sequence[int]
) -> dict[int, str]:
    """Map each layer to a hash of all that its states depend on: code, versions, model, number format, responses."""
    texts = [[r.problem_id, r.sample, list(r.prompt_ids), list(r.response_ids)] for r in responses]
    common = digest(environment("dump_activations", "transformers"), model, weights, dtype, texts)
    return {layer: digest(common, layer) for layer in layers}


def stored(path: Path, needed: Collection[str]) -> dict[str, Tensor]:
    """Read the layers of an earlier run's file that have one of the needed origins, by origin."""
    metadata = read_metadata(path)
    origins = dict(zip(metadata["layers"], metadata["origins"], strict=True))
    names = {origin: f"layer_{layer}" for layer, origin in origins.items() if origin in needed}
    tensors, _ = read_safetensors(path, list(names.values()))
    return {origin: tensors[name] for origin, name in names.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: model, activations (layers, dtype)")
    parser.add_argument("--rollouts", required=True)
    parser.add_argument("--dataset", required=True, help="name of the data set, for the metadata")
    parser.add_argument("--shard", required=True, type=int, help="number of the shard, for the metadata")
    parser.add_argument("--batch-tokens", required=True, type=int, help="tokens at a time; changes no result")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    config, settings = ModelConfig.from_entry(params.model), params.activations
    identity = identity_of(config, arguments.dataset) | {"shard": arguments.shard}
    same_run(identity, rollouts=arguments.rollouts)
    model = load_model(config)
    responses = read_responses(read_parquet(arguments.rollouts))
    origins = origins_of(params.raw["model"], identity["fingerprint"], settings.dtype, responses, settings.layers)
    reuse = Reuse([arguments.output], lambda path: stored(path, origins.values()))
    known = {layer: kept for layer, origin in origins.items() if (kept := reuse.get(origin)) is not None}
    progress = Progress(len(responses), "responses", "dump_activations")
    dtype, new = getattr(torch, settings.dtype), [layer for layer in settings.layers if layer not in known]
    states = dump(model, responses, new, dtype, arguments.batch_tokens, progress.advance)
    metadata = identity | {
        "dtype": settings.dtype,
        "n_layers": len(decoder_blocks(model)),
        "origins": [origins[layer] for layer in sorted(origins)],
    }
    write_activations(replace(states, layers=known | states.layers), metadata, arguments.output)
    reuse.report("layers")
    reuse.keep()


if __name__ == "__main__":
    run_main(main)
