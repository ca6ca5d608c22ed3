"""Rules `train_value_probes` and `train_final_probes`: probes that predict the final reward (method, sections 3 and 6).

All layers and seeds of one run, on true and on shuffled rewards, are trained together on the training part's responses,
but for those that an earlier run has trained already. The probes trained on the last state alone are made by the same
module, with another target and fewer layers.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.lib.config.sections import ValueProbes, load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import ActivationFiles, open_activations
from workflow_scripts.lib.probes.data import (
    Responses,
    number_of_states,
    rewards_of,
    select_responses,
    split_of,
    training_units,
)
from workflow_scripts.lib.probes.perceptrons import Probes, concatenate, specs_of
from workflow_scripts.lib.probes.targets import TARGETS
from workflow_scripts.lib.probes.trainer import MEMORY_GB, Trainer, layer_groups, training_of, value_loss
from workflow_scripts.lib.probes.training import n_batches
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with section value_probes")
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--rollouts", required=True, nargs="+", type=Path)
    parser.add_argument("--activations", required=True, nargs="+", type=Path)
    parser.add_argument("--layers", nargs="+", type=int, help="default: every stored layer")
    parser.add_argument(
        "--target", choices=TARGETS, help="in place of the configured one; the kind is then value_TARGET"
    )
    parser.add_argument("--true-labels-only", action="store_true", help="no probes on shuffled rewards")
    parser.add_argument("--memory-gb", type=float, default=MEMORY_GB, help="layers are trained in groups that fit")
    parser.add_argument("--output", required=True, type=Path)
    return parser.parse_args(argv)


def changed_section(raw: dict[str, Any], target: str | None, true_labels_only: bool) -> dict[str, Any]:
    """Section `value_probes` as it is really used, given what the command line changes in it."""
    changes: dict[str, Any] = {} if target is None else {"target": target}
    return raw | changes | ({"shuffled_seeds": []} if true_labels_only else {})


def train_groups(
    source: ActivationFiles, responses: Responses, section: ValueProbes, trainer: Trainer, memory_gb: float
) -> Probes:
    """The probes of all layers of `source`, group by group of layers."""
    groups = list(layer_groups(source, number_of_states(source, responses), section, memory_gb))
    n_seeds = len({*section.seeds, *section.shuffled_seeds})
    steps = len(groups) * n_batches(len(responses), n_seeds, trainer.training)
    progress = Progress(steps, "steps", f"value probes of {len(source.layers)} layers, {len(responses)} responses")
    parts = []
    for layers in groups:
        specs = specs_of(layers, section.seeds, section.shuffled_seeds)
        units = training_units(source, responses, layers, section.target == "final")
        parts.append(trainer.train(units, specs, progress))
    return concatenate(parts)


def main(argv: Sequence[str] | None = None) -> None:
    """Read the training part's states and rewards, train, write one file of probes."""
    arguments = read_arguments(argv)
    raw = load(arguments.params).raw["value_probes"]
    config = changed_section(raw, arguments.target, arguments.true_labels_only)
    source = open_activations(arguments.activations, arguments.layers)
    same_run(source.identity, problems=arguments.problems, rollouts=arguments.rollouts)
    responses = select_responses(source, split_of(arguments.problems), rewards_of(arguments.rollouts), "train")
    section = ValueProbes(config)
    trainer = Trainer("train_value_probes", config, value_loss(section), training_of(section), arguments.output)
    probes = train_groups(source, responses, section, trainer, arguments.memory_gb)
    metadata = {
        **source.identity,
        "kind": "value" if arguments.target is None else f"value_{arguments.target}",
        "config": config,
        "n_training": len(responses),
        "n_right": int(responses.rewards.sum()),
    }
    trainer.save(probes, metadata)


if __name__ == "__main__":
    run_main(main)
