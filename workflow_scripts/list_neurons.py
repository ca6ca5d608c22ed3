"""Rule `list_neurons`: every neuron of one model with its importance and rank in every probe (method, section 4)."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.neurons import importances
from workflow_scripts.lib.neurons.importances import Importances
from workflow_scripts.lib.probes.pruning import selected_count
from workflow_scripts.lib.storage.tables import write_parquet

SCHEMA: dict[str, Any] = {
    "model": pl.String,
    "revision": pl.String,
    "dataset": pl.String,
    "kind": pl.String,
    "layer": pl.Int64,
    "neuron": pl.Int64,
    "importance": pl.Float64,
    "rank": pl.Int64,
    "seed": pl.Int64,
    "stability": pl.Float64,
}
ORDER = ["dataset", "kind", "layer", "seed", "rank"]
MEANING = {
    "model": "name of the model in the configuration",
    "revision": "its commit on the hub; none for a local folder, see `fingerprint`",
    "dataset": "data set whose responses the probe was trained on",
    "kind": "value: trained on the reward of responses; dopamine: on the TD errors of paragraphs",
    "layer": "block whose output is probed, counted from 1, before the final norm; 0 is the embedding output",
    "neuron": "coordinate of the residual stream, counted from 0",
    "importance": "L1 norm of the probe's first-layer weights from this (scaled) neuron",
    "rank": "1 for the most important neuron of the layer in this probe; equal ones in the order of their number",
    "seed": "seed of the probe's first weights and batch order",
    "stability": "share of the seeds of the run, kind and layer in whose `k` most important neurons this one is",
}


def neuron_rows(run: Importances, share: float) -> pl.DataFrame:
    """A row for each layer, seed and neuron of one run's probes on true labels."""
    frames, k = [], selected_count(share, run.d)
    for layer in run.layers:
        stack = run.of(layer, "true")
        stability = (stack.places < k).mean(0)
        for i, seed in enumerate(stack.seeds):
            columns = {"neuron": np.arange(run.d), "importance": stack.importance[i], "rank": stack.places[i] + 1}
            frame = pl.DataFrame(columns | {"stability": stability})
            names = {"model": run.model, "revision": run.metadata.get("revision"), "dataset": run.dataset}
            fixed = names | {"kind": run.kind, "layer": layer, "seed": seed}
            frames.append(frame.with_columns(pl.lit(v, SCHEMA[name]).alias(name) for name, v in fixed.items()))
    return pl.concat(frames).select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())


def metadata_of(runs: Sequence[Importances], share: float) -> dict[str, str]:
    """What a reader of the file needs beside it; values that are no plain words are JSON."""
    first = runs[0]
    trained = {f"{run.dataset}/{run.kind}": {"probe": run.metadata.get("config")} for run in runs}
    for run in runs:
        trained[f"{run.dataset}/{run.kind}"]["n_training"] = run.metadata.get("n_training")
    facts = {"model": first.model, "revision": first.metadata.get("revision")}
    facts |= {"fingerprint": first.metadata.get("fingerprint"), "d": first.d, "share": share}
    facts |= {"k": selected_count(share, first.d), "columns": MEANING, "sorted_by": ORDER, "training": trained}
    return {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in facts.items()}


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
