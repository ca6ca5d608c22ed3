"""How much faster torch jobs are with more threads: generation, a pass over responses, probe training.

Usage: python -m benchmarks.bench_threads [--threads 1 2] [--model FOLDER] [--rollouts SHARD]
The rules take one or two, the same on every machine, because sums over threads may differ in their last bit.
"""

import argparse
from collections.abc import Callable

import torch

from benchmarks.bench_generation import engine_run
from benchmarks.bench_probes import made_up
from benchmarks.timing import machine, side_by_side
from workflow_scripts.lib.engines.transformers_engine import load
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.probes import targets
from workflow_scripts.lib.probes.perceptrons import specs_of
from workflow_scripts.lib.probes.training import Loss, Training, n_batches, train
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.tables import read_parquet


def probe_run() -> None:
    """Train value probes of two layers and two seeds for one epoch."""
    units, training = made_up(400, 2, 192, 100), Training(256, 1, 16, 1e-3, 0.01, "zscore")
    target = targets.Target("td_lambda", "semi", 0.99, 1 - 1e-5)
    loss: Loss = lambda f, rewards, last: targets.loss(f.sigmoid(), rewards, last, target)  # noqa: E731
    specs = specs_of(sorted(units.layers), range(2), [])
    train(units, specs, training, loss, Progress(n_batches(400, 2, training), "steps", "bench", every=1e9))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--model", default="resources/models/grpo")
    parser.add_argument("--rollouts", default="results/rollouts/grpo/ledger/0.parquet")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    engine = load(ModelConfig("bench", arguments.model, instruction=""))
    prompts = read_parquet(arguments.rollouts)["prompt_ids"].to_list()[: arguments.prompts]
    sequences = [prompt * 3 for prompt in prompts]
    work: dict[str, Callable[[], object]] = {
        "generation": engine_run(engine, prompts, 128),
        "reading": lambda: engine.score(sequences),
        "probe training": probe_run,
    }
    print(f"machine: {machine()}")
    for name, run in work.items():

        def with_threads(n: int, run: Callable[[], object] = run) -> Callable[[], None]:
            def timed() -> None:
                torch.set_num_threads(n)
                run()

            return timed

        found = side_by_side({str(n): with_threads(n) for n in arguments.threads}, arguments.repeats)
        alone = found[str(arguments.threads[0])]
        each = ", ".join(f"{n} threads {seconds:.2f} s ({alone / seconds:.2f})" for n, seconds in found.items())
        print(f"{name}: {each}")


if __name__ == "__main__":
    main()
