"""Rule `finetune_reference_model`: fine-tune `base` by reinforcement learning with verifiable rewards.

The reward is 1 for a correct final answer within the tries that the question allows, and 0 otherwise. (Without this
limit the models learn to ignore the number of tries and try everything, which leaves little to chance.) Two recipes
share everything except the advantage:

- `grpo`: several samples of each question; a response's advantage is its reward relative to its group, on every token.
- `ppo`: a critic, one linear read-out of the model's last hidden state; generalised advantage estimation per token.

Questions come from the training split only; everything random comes from the seed in the configuration.
"""

import argparse
import json
from pathlib import Path

from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.reference.reinforcement import Recipe, finetune


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and fine-tune the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: one recipe under `reference_models`")
    parser.add_argument("--base", type=Path, required=True, help="folder of the base model")
    parser.add_argument("--output", type=Path, required=True, help="folder of the model")
    arguments = parser.parse_args(argv)
    recipe = Recipe(**json.loads(arguments.params))
    finetune(recipe, arguments.base, arguments.output)


if __name__ == "__main__":
    run_main(main)
