"""Write the card of the reference models: data, recipes, seeds, and what was measured, good and bad.

Every number comes from the tables of a study of held-out problems (`studies/model_card.yaml`). What the models are
required to show stands beside what they show; a requirement that is missed is printed as missed.
"""

import argparse
import json
from pathlib import Path

from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.reference.card import card, describe_runs
from workflow_scripts.lib.storage.files import atomic_path
from workflow_scripts.lib.storage.identity import group_by_run
from workflow_scripts.lib.storage.tables import read_parquet


def main(argv: list[str] | None = None) -> None:
    """Run the rule of the same name."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: `reference_models` and the sections of the study")
    parser.add_argument("--rollouts", type=Path, nargs="+", required=True)
    parser.add_argument("--values", type=Path, nargs="+", required=True)
    parser.add_argument("--tables", type=Path, required=True, help="folder of the study's tables")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args(argv)
    settings = json.loads(arguments.params)
    recipes = settings.pop("reference_models")
    read = {
        name: read_parquet(arguments.tables / f"{name}.parquet")
        for name in ("rollouts", "pruning_value", "pruning_dopamine")
    }
    values = group_by_run(arguments.values, "file")
    runs = list(
        describe_runs(
            group_by_run(arguments.rollouts, "shard"), values, read["rollouts"], settings["values"]["min_abs_delta"]
        )
    )
    text = card(runs, read["pruning_value"], read["pruning_dopamine"], recipes, settings)
    with atomic_path(arguments.output) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    run_main(main)
