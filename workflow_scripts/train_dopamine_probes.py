"""Rule `train_dopamine_probes`: train probes that predict a paragraph's TD error from its mean activation.

Method, section 5. All layers and seeds of one run, on true and on shuffled TD errors, are trained together on the
training part's kept paragraphs, except those that an earlier run has trained already.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.probes.data import read_features
from workflow_scripts.lib.probes.perceptrons import specs_of
from workflow_scripts.lib.probes.trainer import Trainer, squared_error, training_of
from workflow_scripts.lib.probes.training import n_batches
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import KEYS


def main(argv: Sequence[str] | None = None) -> None:
    """Read the training part's kept paragraphs, train, write one file of probes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with section dopamine_probes")
    parser.add_argument("--features", required=True, type=Path)
    parser.add_argument("--problems", required=True, nargs="+", type=Path)
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    section, training = params.dopamine_probes, training_of(params.dopamine_probes)
    part_of, metadata = read_features(arguments.features, arguments.problems)
    paragraphs = part_of("train")
    specs = specs_of(list(paragraphs.layers), section.seeds, section.shuffled_seeds)
    n_seeds = len({*section.seeds, *section.shuffled_seeds})
    steps = n_batches(len(paragraphs.delta), n_seeds, training)
    label = f"dopamine probes of {len(paragraphs.layers)} layers, {len(paragraphs.delta)} paragraphs"
    trainer = Trainer("train_dopamine_probes", params.raw["dopamine_probes"], squared_error, training, arguments.output)
    probes = trainer.train(paragraphs.units, specs, Progress(steps, "steps", label))
    content = {"kind": "dopamine", "config": params.raw["dopamine_probes"], "n_training": len(paragraphs.delta)}
    trainer.save(probes, content | {key: metadata[key] for key in KEYS if key in metadata})


if __name__ == "__main__":
    run_main(main)
