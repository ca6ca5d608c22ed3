"""Tokens per second of the transformers engine, and of transformers' own `generate` on the same prompts.

Usage: python -m benchmarks.bench_generation [--model FOLDER] [--rollouts SHARD]
"""

import argparse
from collections.abc import Callable

import torch

from benchmarks.timing import machine, side_by_side
from workflow_scripts.lib.engines.interface import Request, Sampling
from workflow_scripts.lib.engines.transformers_engine import TransformersEngine, load, pad
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.storage.tables import read_parquet

Counter = Callable[[], int]


def engine_run(engine: TransformersEngine, prompts: list[list[int]], max_tokens: int) -> Counter:
    """Sample one response to each prompt with the engine; return how many tokens were made."""
    requests = [Request(tuple(ids), (f"bench-{i}",), max_tokens) for i, ids in enumerate(prompts)]
    sampling = Sampling(temperature=1.0, top_p=0.95, max_tokens=max_tokens)
    return lambda: sum(len(c.token_ids) for _, found in engine.generate(requests, sampling, 0) for c in found)


def generate_run(engine: TransformersEngine, prompts: list[list[int]], max_tokens: int, batch_size: int) -> Counter:
    """Sample the same with `generate`, batches sorted by length and padded on the left."""
    ordered = sorted(prompts, key=len)
    end = int(engine.stop_ids[0])

    def run() -> int:
        made = 0
        for start in range(0, len(ordered), batch_size):
            ids, mask = pad(ordered[start : start + batch_size], "left", engine.device)
            settings = {"do_sample": True, "temperature": 1.0, "top_p": 0.95, "top_k": 0, "max_new_tokens": max_tokens}
            out = engine.model.generate(input_ids=ids, attention_mask=mask, pad_token_id=end, **settings)  # type: ignore[operator]
            new = out[:, ids.shape[1] :]
            ended = torch.isin(new, engine.stop_ids).cumsum(1) > 0
            made += int((~ended).sum())
        return made

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resources/models/grpo")
    parser.add_argument("--rollouts", default="results/rollouts/grpo/ledger/0.parquet", help="whose prompts to use")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--max-tokens", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    engine = load(ModelConfig(key="bench", path=arguments.model), arguments.batch_size)
    prompts = read_parquet(arguments.rollouts)["prompt_ids"].to_list()[: arguments.prompts]
    counts = {"engine": 0, "generate": 0}
    runs = {
        "engine": engine_run(engine, prompts, arguments.max_tokens),
        "generate": generate_run(engine, prompts, arguments.max_tokens, arguments.batch_size),
    }

    def counted(name: str) -> Callable[[], None]:
        return lambda: counts.update({name: runs[name]()})

    torch.manual_seed(0)
    found = side_by_side({name: counted(name) for name in runs}, arguments.repeats)
    print(f"machine: {machine()}")
    print(f"{len(prompts)} prompts, batches of {arguments.batch_size}")
    for name, seconds in found.items():
        print(f"{name}: {seconds:.2f} s, {counts[name]} tokens, {counts[name] / seconds:.0f} tokens/s")


if __name__ == "__main__":
    main()
