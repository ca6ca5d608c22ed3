"""Rule `train_base_model`: train the `base` reference model to imitate the demonstrators of all tasks.

The loss is the cross-entropy of the solution's tokens, with the end token; questions are given, not learnt.
Everything random comes from the seed in the configuration. The problems are those of the training split, which no
evaluation problem can belong to.
"""

import argparse
import json
from pathlib import Path

from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.reference.imitation import Recipe, train


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: the `reference_models.base` section")
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    arguments = parser.parse_args(argv)
    train(Recipe(**json.loads(arguments.params)), arguments.output)


if __name__ == "__main__":
    run_main(main)
