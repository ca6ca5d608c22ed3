"""Train the `base` reference model: supervised imitation of the demonstrators of all tasks.

The loss is the cross-entropy of the solution's tokens, the end token included; questions are given, not learnt.
Everything random comes from the seed in the configuration. The problems are those of the training split, which no
evaluation problem can belong to.
"""

import argparse
import json
from pathlib import Path

from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.reference.imitation import Recipe, train


def main(argv: list[str] | None = None) -> None:
    """Entry point of the rule of the same name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: the `reference_models.base` section")
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    arguments = parser.parse_args(argv)
    train(Recipe(**json.loads(arguments.params)), arguments.output)


if __name__ == "__main__":
    run_main(main)
