"""What the methods of a search score with: probes, states, a reference model; loaded and checked in one place."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from workflow_scripts.lib.config.sections import Params
from workflow_scripts.lib.engines.interface import Engine
from workflow_scripts.lib.engines.transformers_engine import TransformersEngine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, identity_of, load_model, load_tokenizer
from workflow_scripts.lib.probes.perceptrons import Probes
from workflow_scripts.lib.probes.perceptrons import load as load_probes
from workflow_scripts.lib.search.guided import Scorer, regroup, steps_of
from workflow_scripts.lib.search.step_scores import (
    Reading,
    check_same_vocabulary,
    dopamine_scores,
    log_ratio_scores,
    probes_for,
    random_scores,
)


@dataclass(frozen=True)
class Scoring:
    """What scores are made of; None where no method wants it."""

    reading: Reading | None
    dopamine: Probes | None
    value: Probes | None
    reference: Engine | None


def scorer(method: str, scoring: Scoring, seed: int) -> Scorer:
    """The scores of a guided method."""
    if method == "random":
        return lambda step, open_, found: [
            random_scores(len(several), one.problem_id, seed, step) for one, several in zip(open_, found, strict=True)
        ]
    if method == "implicit_prm":
        reference = scoring.reference
        assert reference is not None
        return lambda step, open_, found: regroup(
            log_ratio_scores(steps_of(open_, found), [one.logprobs for several in found for one in several], reference),
            found,
        )
    reading, probes = scoring.reading, scoring.dopamine
    assert reading is not None and probes is not None
    return lambda step, open_, found: regroup(dopamine_scores(steps_of(open_, found), probes, reading), found)


def checked_probes(path: Path, kind: str, model: ModelConfig, dataset: str, reading: Reading) -> Probes:
    """The probes of this run.

    Raises:
        UserError: they are of another run or kind, have none of the layer, or see the future of a response.
    """
    probes, metadata = load_probes(path, kind=kind, **identity_of(model, dataset))
    if kind == "dopamine" and metadata["config"].get("normalization") != "causal":
        raise UserError(
            f"{path}: not trained on causal features; a search needs `normalization: causal`: train them so"
        )
    probes_for(probes, reading, kind)
    return probes


def prepare(arguments: argparse.Namespace, params: Params, engine: Engine, model: ModelConfig) -> Scoring:
    """Load what the configured methods score with.

    Raises:
        UserError: probes or the reference model are missing, or do not fit the model.
    """
    methods, dataset, tokenizer = params.search.methods, params.dataset.key, load_tokenizer(model)
    reference = reading = None
    if "implicit_prm" in methods:
        if not arguments.reference:
            raise UserError("configuration: search.reference: implicit_prm wants the model to score against; name it")
        entry = ModelConfig.from_entry(arguments.reference)
        other = load_tokenizer(entry)
        check_same_vocabulary(tokenizer, other, model.key, entry.key)
        reference = TransformersEngine(load_model(entry), other, arguments.batch_size)
    if {"dopamine", "best_of_n"} & set(methods):
        loaded = engine.model if isinstance(engine, TransformersEngine) else load_model(model)
        dtype = getattr(torch, params.activations.dtype)
        reading = Reading(loaded, params.search.layer, dtype, arguments.batch_tokens)
    probes: dict[str, Probes | None] = {"dopamine": None, "best_of_n": None}
    for method, kind in (("dopamine", "dopamine"), ("best_of_n", "value")):
        if method in methods:
            path = getattr(arguments, f"{kind}_probes")
            if path is None or reading is None:
                raise UserError(f"--{kind}-probes: missing; method {method} needs them")
            probes[method] = checked_probes(path, kind, model, dataset, reading)
    return Scoring(reading, probes["dopamine"], probes["best_of_n"], reference)
