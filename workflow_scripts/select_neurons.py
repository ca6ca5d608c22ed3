"""Rule `select_neurons`: which neurons interventions hold, by layer, selection, draw and share (method, section 6)."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.config.sections import Interventions, load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.neurons.selections import RANDOM, LayerMeasures, select, sinks
from workflow_scripts.lib.probes import next_token, perceptrons
from workflow_scripts.lib.storage.identity import KEYS, require
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.storage.tensors import read_metadata, read_safetensors

SCHEMA: dict[str, Any] = {
    "layer": pl.Int64,
    "selection": pl.String,
    "draw": pl.Int64,
    "share": pl.Float64,
    "neurons": pl.List(pl.Int64),
}
FILES = {
    "value_probes": {"value", "random_matched"},
    "final_probes": {"value_final"},
    "ntp_probes": {"ntp"},
    "measures": {"magnitude", "wanda", *RANDOM},
}
"""What each file is needed for; `random` needs to know how many neurons there are."""

Scores = dict[int, Float[np.ndarray, " d"]]
"""Layer -> [d]."""


def needed_files(arguments: argparse.Namespace, selections: Sequence[str]) -> dict[str, Path]:
    """The files that the selections are made from.

    Raises:
        UserError: one was not given.
    """
    found = {}
    for name, users in FILES.items():
        if wanted := [selection for selection in selections if selection in users]:
            given = getattr(arguments, name)
            if not given:
                raise UserError(f"selection {wanted[0]}: needs --{name.replace('_', '-')}; give the file")
            found[name] = given[0]
    return found


def check_identity(paths: Sequence[Path], model: str, dataset: str) -> dict[str, Any]:
    """What all files say of model and data set.

    Raises:
        UserError: a file is of another model or data set than asked for, or of another version of the model.
    """
    expect: dict[str, Any] = {"model": model, "dataset": dataset}
    for path in paths:
        metadata = read_metadata(path)
        require(path, metadata, expect)
        expect = {key: metadata.get(key) for key in KEYS}
    return expect


def lacks(path: Path, what: str) -> UserError:
    """The error that a file holds too little."""
    return UserError(f"{path}: lacks {what}; delete it and run again")


def value_scores(path: Path, kind: str, layers: Sequence[int]) -> Scores:
    """Importance in the value probes, averaged over the seeds trained on true rewards."""
    stack, _ = perceptrons.load(path, kind=kind)
    found = {}
    for layer in layers:
        mine = stack.of(layer=layer, labels="true")
        if not mine.specs:
            raise lacks(path, f"probes of layer {layer}")
        found[layer] = perceptrons.importance(mine).double().mean(0).numpy()
    return found


def read_tensors(path: Path, kind: str, layers: Sequence[int], name: str) -> dict[int, Tensor]:
    """Layer -> tensor `layer_{l}.{name}` of a file of next-token probes or of measures, float64; nothing else is read.

    Raises:
        UserError: a file of another kind, or one that lacks a layer or the tensor.
    """
    metadata = read_metadata(path)
    if metadata.get("kind") != kind:
        raise UserError(f"{path}: kind is {json.dumps(metadata.get('kind'))}, but {kind} is asked for; delete it")
    if missing := [layer for layer in layers if layer not in metadata["layers"]]:
        raise lacks(path, f"layer {missing[0]}")
    tensors, _ = read_safetensors(path, [f"layer_{layer}.{name}" for layer in layers])
    return {layer: tensors[f"layer_{layer}.{name}"].double() for layer in layers}


def read_measures(files: dict[str, Path], section: Interventions) -> list[LayerMeasures]:
    """What the configured selections are made from, for each layer.

    Raises:
        UserError: a file lacks a layer, or is of another kind.
    """
    layers, scores = section.layers, dict[str, Scores]()
    if "value_probes" in files:
        scores["value"] = value_scores(files["value_probes"], "value", layers)
    if "final_probes" in files:
        scores["value_final"] = value_scores(files["final_probes"], "value_final", layers)
    if "ntp_probes" in files:
        weights = read_tensors(files["ntp_probes"], "ntp", layers, "w1")
        scores["ntp"] = {layer: next_token.importance(w1).numpy() for layer, w1 in weights.items()}
    measured: dict[str, dict[int, Tensor]] = {"rms": {}, "first": {}}
    if "measures" in files:
        names = ["rms", "first", *({"magnitude", "wanda"} & set(section.selections))]
        measured = {name: read_tensors(files["measures"], "measures", layers, name) for name in names}
    found = []
    for layer in layers:
        of = {name: by_layer[layer] for name, by_layer in scores.items()}
        own = {name: by_layer[layer].numpy() for name, by_layer in measured.items() if layer in by_layer}
        rms, first = own.pop("rms", np.empty(0)), own.pop("first", np.empty(0))
        found.append(LayerMeasures(layer, len(next(iter([*of.values(), rms]))), of | own, rms, first))
    return found


def shares_of(section: Interventions, layer: int, selection: str) -> list[float]:
    """The shares at which a selection is made at a layer, each once."""
    shares = [section.share]
    if layer in section.dose_layers and selection in section.dose_selections:
        shares += [*section.dose_shares, section.dose_factor_share]
    return list(dict.fromkeys(shares))


def select_all(measures: Sequence[LayerMeasures], section: Interventions) -> pl.DataFrame:
    """One row for each layer, selection, share and draw."""
    rows = [
        (one.layer, selection, draw, share, select(selection, share, draw, section.seed, one))
        for one in measures
        for selection in section.selections
        for share in shares_of(section, one.layer, selection)
        for draw in range(section.draws if selection in RANDOM else 1)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def main(argv: Sequence[str] | None = None) -> None:
    """Read what the configured selections are made from, select, write one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="canonical JSON with section interventions")
    parser.add_argument("--model", required=True, help="name of the model that the files must be of")
    parser.add_argument("--dataset", required=True, help="name of the data set that the files must be of")
    for name, users in FILES.items():
        option, needed = f"--{name.replace('_', '-')}", ", ".join(sorted(users))
        parser.add_argument(option, nargs="*", type=Path, default=[], help=f"one file; for {needed}")
    parser.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args(argv)
    section = load(arguments.params).interventions
    files = needed_files(arguments, section.selections)
    identity = check_identity(list(files.values()), arguments.model, arguments.dataset)
    measures = read_measures(files, section)
    excluded = {str(one.layer): int(sinks(one.first).sum()) for one in measures if len(one.first)}
    metadata = {key: json.dumps(value) for key, value in identity.items()}
    metadata |= {"sinks_excluded": json.dumps(excluded), "width": str(measures[0].d)}
    write_parquet(select_all(measures, section), arguments.output, metadata)


if __name__ == "__main__":
    run_main(main)
