"""Read and check the inputs of selections of neurons: probes and measures."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from workflow_scripts.lib.config.sections import Interventions
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.neurons.catalogue import CATALOGUE, FILES, users_of
from workflow_scripts.lib.neurons.importances import mean_importances
from workflow_scripts.lib.neurons.selections import LayerMeasures, LayerScores
from workflow_scripts.lib.probes.perceptrons import input_importance
from workflow_scripts.lib.storage.identity import KEYS, require
from workflow_scripts.lib.storage.tensors import read_metadata, read_safetensors


def needed_files(arguments: argparse.Namespace, selections: Sequence[str]) -> dict[str, Path]:
    """Return the files that the selections are made from.

    Raises:
        UserError: one was not given.
    """
    files = {}
    for name in FILES:
        if users := users_of(name, selections):
            given = getattr(arguments, name)
            if not given:
                raise UserError(f"selection {users[0]}: needs --{name.replace('_', '-')}; give the file")
            files[name] = given[0]
    return files


def check_identity(paths: Sequence[Path], model: str, dataset: str) -> dict[str, Any]:
    """Return the model and data set that all files name.

    Raises:
        UserError: a file is of another model or data set than expected, or of another version of the model.
    """
    expect: dict[str, Any] = {"model": model, "dataset": dataset}
    for path in paths:
        metadata = read_metadata(path)
        require(path, metadata, expect)
        expect = {key: metadata.get(key) for key in KEYS}
    return expect


def lacks(path: Path, what: str) -> UserError:
    """Return the error that a file lacks something."""
    return UserError(f"{path}: lacks {what}; delete it and run again")


def read_tensors(path: Path, kind: str, layers: Sequence[int], name: str) -> dict[int, Tensor]:
    """Return layer -> tensor `layer_{l}.{name}`, float64, of a file of next-token probes or of measures.

    Nothing else is read.

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
    """Read, for each layer, the measures that the configured selections are made from.

    Raises:
        UserError: a file lacks a layer, or is of another kind.
    """
    layers, scores = section.layers, dict[str, LayerScores]()
    for selection, name, kind in (("value", "value_probes", "value"), ("value_final", "final_probes", "value_final")):
        if name in files:
            scores[selection] = mean_importances(files[name], kind, layers)
    if "ntp_probes" in files:
        weights = read_tensors(files["ntp_probes"], "ntp", layers, "w1")
        scores["ntp"] = {layer: input_importance(w1).numpy() for layer, w1 in weights.items()}
    measured: dict[str, LayerScores] = {"rms": {}, "first": {}}
    if "measures" in files:
        ranked = {name: CATALOGUE[name].measure for name in section.selections}
        names = {"rms": "rms", "first": "first", **{name: measure for name, measure in ranked.items() if measure}}
        for name, measure in names.items():
            tensors = read_tensors(files["measures"], "measures", layers, measure)
            measured[name] = {layer: tensor.numpy() for layer, tensor in tensors.items()}
    rms, first = measured.pop("rms"), measured.pop("first")
    return [layer_measures(layer, scores | measured, rms, first) for layer in layers]


def layer_measures(layer: int, scores: dict[str, LayerScores], rms: LayerScores, first: LayerScores) -> LayerMeasures:
    """Collect the measures of one layer; without `rms` and `first`, these are empty."""
    scores_here = {name: by_layer[layer] for name, by_layer in scores.items()}
    nothing = np.empty(0)
    d = len(next(iter([*scores_here.values(), rms.get(layer, nothing)])))
    return LayerMeasures(layer, d, scores_here, rms.get(layer, nothing), first.get(layer, nothing))
