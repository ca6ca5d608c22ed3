"""Rule `train_value_probes`: probes that predict the final reward from a hidden state (method, section 3).

All layers and seeds of one run, on true and on shuffled rewards, are trained together on the training part's responses.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.probe_run import (
    MEMORY_GB,
    layer_groups,
    number_of_states,
    training_of,
    training_units,
    value_loss,
)
from workflow_scripts.lib.probe_training import n_batches, train
from workflow_scripts.lib.probes import concatenate, save, specs_of
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.responses import open_activations, rewards_of, select_responses, split_of


def main(argv: Sequence[str] | None = None) -> None:
    """Read the training part's states and rewards, train, write one file of probes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with section value_probes")
    parser.add_argument("--problems", required=True, type=Path)
    parser.add_argument("--rollouts", required=True, nargs="+", type=Path)
    parser.add_argument("--activations", required=True, nargs="+", type=Path)
    parser.add_argument("--memory-gb", type=float, default=MEMORY_GB, help="layers are trained in groups that fit")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    section, training = params.value_probes, training_of(params.value_probes)
    source = open_activations(arguments.activations)
    responses = select_responses(source, split_of(arguments.problems), rewards_of(arguments.rollouts), "train")
    groups = list(layer_groups(source, number_of_states(source, responses), section, arguments.memory_gb))
    n_seeds = len({*section.seeds, *section.shuffled_seeds})
    steps = len(groups) * n_batches(len(responses), n_seeds, training)
    progress = Progress(steps, "steps", f"value probes of {len(source.layers)} layers, {len(responses)} responses")
    parts = []
    for layers in groups:
        specs = specs_of(layers, section.seeds, section.shuffled_seeds)
        units = training_units(source, responses, layers)
        parts.append(train(units, specs, training, value_loss(section), progress))
    metadata = {
        **source.identity,
        "kind": "value",
        "config": params.raw["value_probes"],
        "n_training": len(responses),
        "n_right": int(responses.rewards.sum()),
    }
    save(concatenate(parts), metadata, arguments.output)


if __name__ == "__main__":
    run_main(main)
