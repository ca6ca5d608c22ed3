"""Rule `tabulate_interventions`: tabulate the effect of interventions on accuracy, as csv and parquet.

Tables 2 and 5 of the paper, with rows of averages over layers (layer empty) and over runs (model `all`); contrasts
between value neurons and every other selection, the overlap of the selections and the dose-response. A number that
cannot be computed stays empty, and the column `reason` says why.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.neurons.intervention_tables import MASKS, Settings, tabulate
from workflow_scripts.lib.storage.result_tables import write_table
from workflow_scripts.lib.storage.tables import write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read the masked responses of all runs and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--params", required=True, help="canonical JSON: interventions, pruning (bootstrap, confidence, seed)"
    )
    for name in ("rollouts", "masked", "proofs", "neurons"):
        parser.add_argument(f"--{name}", nargs="*", type=Path, default=[])
    parser.add_argument("--scores", required=True, type=Path, help="the table of rewards per response, parquet")
    parser.add_argument("--output-dir", required=True, type=Path)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    pruning = params.pruning
    settings = Settings(pruning.confidence, pruning.bootstrap, pruning.seed, params.interventions)
    tables = tabulate(arguments, settings)
    write_parquet(tables.pop(MASKS), arguments.scores)
    for name, frame in tables.items():
        write_table(frame, name, arguments.output_dir)


if __name__ == "__main__":
    run_main(main)
