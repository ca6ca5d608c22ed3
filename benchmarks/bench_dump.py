"""Activation dump of all layers against the bare forward pass over the same batches of the same responses.

Usage: python -m benchmarks.bench_dump [--model FOLDER] [--rollouts SHARD]
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from benchmarks.timing import machine, side_by_side
from workflow_scripts.lib.models.activation_files import write_activations
from workflow_scripts.lib.models.load import ModelConfig, decoder_blocks, load_model
from workflow_scripts.lib.models.states import Response, batches, dump, read_responses
from workflow_scripts.lib.storage.tables import read_parquet


def padded(responses: list[Response], batch_tokens: int) -> list[torch.Tensor]:
    """Return the batches that the dump makes, as padded token ids."""
    made = []
    for batch in batches(responses, batch_tokens):
        ids = torch.zeros((len(batch), responses[batch[0]].length), dtype=torch.long)
        for row, index in enumerate(batch):
            tokens = [*responses[index].prompt_ids, *responses[index].response_ids]
            ids[row, : len(tokens)] = torch.tensor(tokens)
        made.append(ids)
    return made


def bare(model: PreTrainedModel, inputs: list[torch.Tensor]) -> Callable[[], None]:
    """Pass every batch through the model's blocks and keep nothing."""
    device = next(model.parameters()).device

    @torch.inference_mode()
    def run() -> None:
        for ids in inputs:
            model.base_model(input_ids=ids.to(device), use_cache=False)
        if device.type == "cuda":
            torch.cuda.synchronize()

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resources/models/grpo")
    parser.add_argument("--rollouts", default="results/rollouts/grpo/ledger/0.parquet")
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    model = load_model(ModelConfig(key="bench", path=arguments.model))
    responses = read_responses(read_parquet(arguments.rollouts))
    layers = list(range(1, len(decoder_blocks(model)) + 1))
    inputs = padded(responses, arguments.batch_tokens)

    def dumped() -> None:
        states = dump(model, responses, layers, torch.float16, arguments.batch_tokens)
        with tempfile.TemporaryDirectory() as folder:
            write_activations(states, {}, Path(folder) / "0.safetensors")

    found = side_by_side({"bare": bare(model, inputs), "dump": dumped}, arguments.repeats)
    tokens = sum(response.length for response in responses)
    print(f"machine: {machine()}")
    print(f"{len(responses)} responses, {tokens} tokens, {len(layers)} layers")
    for name, seconds in found.items():
        print(f"{name}: {seconds:.3f} s, {tokens / seconds:.0f} tokens/s")
    print(f"ratio dump / bare: {found['dump'] / found['bare']:.3f}")


if __name__ == "__main__":
    main()
