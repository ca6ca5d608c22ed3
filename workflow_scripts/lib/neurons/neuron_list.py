"""List every neuron of a model with its importance and rank in every probe (method, section 4)."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from workflow_scripts.lib.neurons.importances import Importances
from workflow_scripts.lib.probes.pruning import selected_count

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
    """Return a row for each layer, seed and neuron of one run's probes on true labels."""
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
    """Return the metadata that a reader of the file needs; values that are not plain words are JSON."""
    first = runs[0]
    trained = {f"{run.dataset}/{run.kind}": {"probe": run.metadata.get("config")} for run in runs}
    for run in runs:
        trained[f"{run.dataset}/{run.kind}"]["n_training"] = run.metadata.get("n_training")
    facts = {"model": first.model, "revision": first.metadata.get("revision")}
    facts |= {"fingerprint": first.metadata.get("fingerprint"), "d": first.d, "share": share}
    facts |= {"k": selected_count(share, first.d), "columns": MEANING, "sorted_by": ORDER, "training": trained}
    return {key: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for key, value in facts.items()}
