"""Rule `select_neurons`: select neurons for interventions, by layer, selection, draw and share (method, section 6)."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.neurons.catalogue import FILES, users_of
from workflow_scripts.lib.neurons.selection_inputs import check_identity, needed_files, read_measures
from workflow_scripts.lib.neurons.selection_table import select_all
from workflow_scripts.lib.neurons.selections import sinks
from workflow_scripts.lib.storage.tables import write_parquet


def main(argv: Sequence[str] | None = None) -> None:
    """Read the inputs of the configured selections, select, write one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with section interventions")
    parser.add_argument("--model", required=True, help="name of the model that the files must belong to")
    parser.add_argument("--dataset", required=True, help="name of the data set that the files must belong to")
    for name in FILES:
        needed = ", ".join(users_of(name))
        parser.add_argument(f"--{name.replace('_', '-')}", nargs="*", type=Path, default=[], help=f"file; for {needed}")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    section = load(arguments.params).interventions
    files = needed_files(arguments, section.selections)
    identity = check_identity(list(files.values()), arguments.model, arguments.dataset)
    measures = read_measures(files, section)
    excluded = {str(layer.layer): int(sinks(layer.first).sum()) for layer in measures if len(layer.first)}
    metadata = {key: json.dumps(value) for key, value in identity.items()}
    metadata |= {"sinks_excluded": json.dumps(excluded), "width": str(measures[0].d)}
    write_parquet(select_all(measures, section), arguments.output, metadata)


if __name__ == "__main__":
    run_main(main)
