"""Value probes of several layers and seeds trained together, each batch read once, against one after another.

Usage: python -m benchmarks.bench_probes [--responses 1280] [--layers 6] [--seeds 3]
"""

import argparse

import numpy as np
import torch

from benchmarks.timing import machine, side_by_side
from workflow_scripts.lib.probes import targets
from workflow_scripts.lib.probes.perceptrons import Spec, specs_of
from workflow_scripts.lib.probes.training import Loss, Training, Units, n_batches, train
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.seeds import generator


def made_up(n_responses: int, n_layers: int, width: int, length: int) -> Units:
    """Draw random states of responses of about `length` tokens; their content does not change the time."""
    rng = generator("bench probes")
    counts = rng.integers(length // 2, length * 3 // 2, n_responses)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    torch.manual_seed(0)
    layers = {layer: torch.randn(int(offsets[-1]), width).half() for layer in range(1, n_layers + 1)}
    return Units(layers, offsets, (rng.random(n_responses) < 0.6).astype(float))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--responses", type=int, default=1280)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--length", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    units = made_up(arguments.responses, arguments.layers, arguments.width, arguments.length)
    specs = specs_of(sorted(units.layers), range(arguments.seeds), [0])
    training = Training(arguments.hidden, 1, arguments.batch_size, 1e-3, 0.01, "zscore")
    target = targets.Target("td", "semi", 0.95, 1 - 1e-5)
    loss: Loss = lambda f, rewards, last: targets.loss(f.sigmoid(), rewards, last, target)  # noqa: E731

    def trained(part: list[Spec]) -> None:
        layers = {layer: units.layers[layer] for layer in {spec.layer for spec in part}}
        seeds = len({spec.seed for spec in part})
        progress = Progress(n_batches(arguments.responses, seeds, training), "steps", "bench", every=1e9)
        train(Units(layers, units.offsets, units.labels), part, training, loss, progress)

    def one_by_one() -> None:
        for spec in specs:
            trained([spec])

    found = side_by_side({"one by one": one_by_one, "together": lambda: trained(specs)}, arguments.repeats)
    print(f"machine: {machine()}")
    print(f"{len(specs)} probes, {len(units.labels)} responses, {int(units.offsets[-1])} states, one epoch")
    for name, seconds in found.items():
        print(f"{name}: {seconds:.2f} s")
    print(f"one by one / together: {found['one by one'] / found['together']:.2f}")


if __name__ == "__main__":
    main()
