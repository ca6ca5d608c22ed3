"""Load and check the inputs that the methods of a search score with: probes, states, a reference model."""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.lib.config.sections import Params
from workflow_scripts.lib.engines.interface import Completion, Engine, EngineOptions
from workflow_scripts.lib.engines.start import load_engine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, identity_of, load_model
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.probes.perceptrons import Probes
from workflow_scripts.lib.probes.perceptrons import load as load_probes
from workflow_scripts.lib.search.guided import Answered, Scorer, regroup, steps_of
from workflow_scripts.lib.search.methods import PROBES, needs_of
from workflow_scripts.lib.search.step_scores import (
    StateReader,
    check_same_vocabulary,
    dopamine_scores,
    log_ratio_scores,
    probes_for,
    random_scores,
)
from workflow_scripts.lib.storage.identity import VERSION


@dataclass(frozen=True)
class Scoring:
    """The inputs that the configured methods score with.

    `reader`: reads states, None where no method needs any. `probes`: those of each need (`search.methods`).
    """

    reader: StateReader | None
    probes: dict[str, Probes]
    reference: Engine | None


def _random(scoring: Scoring, seed: int) -> Scorer:
    """Score candidates by chance."""
    return lambda step, open_, drawn: [
        random_scores(len(candidates), one.problem_id, seed, step) for one, candidates in zip(open_, drawn, strict=True)
    ]


def _implicit_prm(scoring: Scoring, seed: int) -> Scorer:
    """Score candidates by their log-probability ratio to the reference model."""
    reference = scoring.reference
    assert reference is not None

    def score(step: int, open_: Sequence[Answered], drawn: Sequence[Sequence[Completion]]) -> list[list[float]]:
        logprobs = [one.logprobs for candidates in drawn for one in candidates]
        return regroup(log_ratio_scores(steps_of(open_, drawn), logprobs, reference), drawn)

    return score


def _dopamine(scoring: Scoring, seed: int) -> Scorer:
    """Score candidates by the TD error that dopamine probes predict."""
    reader, probes = scoring.reader, scoring.probes["dopamine_probes"]
    assert reader is not None
    return lambda step, open_, drawn: regroup(dopamine_scores(steps_of(open_, drawn), probes, reader), drawn)


CATALOGUE = {"dopamine": _dopamine, "implicit_prm": _implicit_prm, "random": _random}
"""The scorer of each guided method."""


def checked_probes(path: Path, kind: str, model: ModelConfig, dataset: str, reader: StateReader) -> Probes:
    """Load the probes of this run and check them.

    Raises:
        UserError: they are of another run or kind, have none of the layer, or see the future of a response.
    """
    probes, metadata = load_probes(path, kind=kind, **identity_of(model, dataset))
    if kind == "dopamine" and metadata["config"].get("normalization") != "causal":
        raise UserError(
            f"{path}: not trained on causal features; a search needs `normalization: causal`: train them with it"
        )
    probes_for(probes, reader, kind)
    return probes


def load_reference(arguments: argparse.Namespace, model: ModelConfig) -> Engine:
    """Load the reference model.

    Raises:
        UserError: none is named, or it reads other token ids.
    """
    if not arguments.reference:
        raise UserError(
            "configuration: search.reference: a method scores against this model; name it, or drop the method"
        )
    entry = ModelConfig.from_entry(arguments.reference)
    check_same_vocabulary(load_tokenizer(model), load_tokenizer(entry), model.key, entry.key)
    return load_engine("transformers", entry, EngineOptions(arguments.batch_size))


def prepare(
    methods: Iterable[str], arguments: argparse.Namespace, params: Params, engine: Engine, model: ModelConfig
) -> Scoring:
    """Load the inputs that some methods score with.

    Raises:
        UserError: probes or the reference model are missing, or do not fit the model.
    """
    needs = needs_of(methods)
    reference = load_reference(arguments, model) if "reference" in needs else None
    probe_files = [name for name in PROBES if name in needs]
    if missing := [name for name in probe_files if getattr(arguments, name) is None]:
        raise UserError(f"--{missing[0].replace('_', '-')}: missing; a configured method needs it")
    if not probe_files:
        return Scoring(None, {}, reference)
    from workflow_scripts.lib.engines.transformers_engine import TransformersEngine  # as late as the library behind it

    loaded = engine.model if isinstance(engine, TransformersEngine) else load_model(model)
    dtype = getattr(torch, params.activations.dtype)
    reader = StateReader(loaded, params.search.layer, dtype, arguments.batch_tokens)
    probes = {
        name: checked_probes(getattr(arguments, name), name.removesuffix("_probes"), model, params.dataset.key, reader)
        for name in probe_files
    }
    return Scoring(reader, probes, reference)


def input_digests(arguments: argparse.Namespace, methods: Iterable[str], layer: int) -> list[Any]:
    """List all inputs that some methods score with, for a hash: every need of theirs.

    Of probe files, these are the probes of the layer that is read. The needs come from the catalogue, so that no input
    of a method can be forgotten.
    """
    parts: list[Any] = []
    for need in sorted(needs_of(methods)):
        given = getattr(arguments, need)
        if need in PROBES and given is not None:
            probes, metadata = load_probes(given)
            read = probes.of(layer=layer, labels="true")
            parts += [need, [metadata.get(key) for key in ("kind", "dataset", *VERSION)]]
            parts.append(metadata.get("config", {}).get("normalization"))
            parts += [read.w1, read.b1, read.w2, read.b2, read.mean, read.scale]
        elif given is not None:
            parts += [need, given, identity_of(ModelConfig.from_entry(given))]
    return parts
