"""Rule `list_neurons`: list all neurons of one model with importance and rank in every probe (method, section 4)."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.neurons import importances
from workflow_scripts.lib.neurons.neuron_list import ORDER, metadata_of, neuron_rows
from workflow_scripts.lib.storage.tables import write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read the probes of one model's runs, write the list of its neurons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with interventions.share")
    parser.add_argument("--model", required=True)
    parser.add_argument("--value", nargs="*", default=[], type=Path, help="value probes of the model's runs")
    parser.add_argument("--dopamine", nargs="*", default=[], type=Path, help="dopamine probes of the model's runs")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    runs = [importances.read(path, kind) for kind in ("value", "dopamine") for path in getattr(arguments, kind)]
    if not runs:
        raise UserError(f"model {arguments.model}: no probes to list neurons of; give --value or --dopamine")
    if other := next((run for run in runs if run.model != arguments.model), None):
        raise UserError(f"{other.path}: probes of {other.model}, but {arguments.model} is asked for; give its files")
    importances.check_versions(runs)
    share = load(arguments.params).interventions.share
    table = pl.concat([neuron_rows(run, share) for run in runs]).sort(ORDER)
    write_parquet(table, arguments.output, metadata_of(runs, share))


if __name__ == "__main__":
    run_main(main)
