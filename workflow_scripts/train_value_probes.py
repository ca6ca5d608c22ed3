"""Rules `train_value_probes`, `train_final_probes`: train probes that predict the final reward (method, sections 3, 6).

All layers and seeds of one run, on true and on shuffled rewards, are trained together on the training part's responses,
except those that an earlier run has trained already. The same module trains the probes on the last state only, with
another target and fewer layers.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import ValueProbes, load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.models.activation_files import open_activations
from workflow_scripts.lib.probes.data import (
    rewards_of,
    select_responses,
    split_of,
)
from workflow_scripts.lib.probes.targets import CATALOGUE
from workflow_scripts.lib.probes.trainer import (
    MEMORY_GB,
    Trainer,
    changed_section,
    train_groups,
    training_of,
    value_loss,
)
from workflow_scripts.lib.storage.identity import same_run


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with section value_probes")
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--rollouts", required=True, nargs="+", type=Path)
    parser.add_argument("--activations", required=True, nargs="+", type=Path)
    parser.add_argument("--layers", nargs="+", type=int, help="default: every stored layer")
    parser.add_argument(
        "--target", choices=CATALOGUE, help="in place of the configured one; the kind is then value_TARGET"
    )
    parser.add_argument("--true-labels-only", action="store_true", help="no probes on shuffled rewards")
    parser.add_argument("--memory-gb", type=float, default=MEMORY_GB, help="layers are trained in groups that fit")
    parser.add_argument("--output", required=True, type=Path)
    return parser.parse_args(argv)


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
