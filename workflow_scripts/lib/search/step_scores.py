"""Scores of candidate paragraphs and of whole responses, from token ids alone (method, section 9; paper, Section 5.2).

A `Step` is a candidate paragraph in its place. All functions work on lists of steps: steps of many problems go through
a model together, and steps with the same tokens get the same score in any batch.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.engines.interface import Engine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.states import Response, States, dump
from workflow_scripts.lib.probes import features
from workflow_scripts.lib.probes.features import zscore_causal
from workflow_scripts.lib.probes.perceptrons import Probes, outputs
from workflow_scripts.lib.seeds import Part, generator

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Step:
    """A candidate `paragraph` after a prompt and `before`, the response so far; all are token ids."""

    prompt_ids: tuple[int, ...]
    before: tuple[int, ...]
    paragraph: tuple[int, ...]


@dataclass(frozen=True)
class StateReader:
    """Reads states: with which model, at which layer, stored in which number format, how many tokens at a time.

    `dtype` is that of the activations that the probes were trained on: the same rounding gives the same features.
    """

    model: "PreTrainedModel"
    layer: int
    dtype: torch.dtype
    batch_tokens: int


def distinct(items: Sequence[T]) -> tuple[list[T], list[int]]:
    """Return each item once, in the order of first occurrence, and the index there of each given item."""
    indices: dict[T, int] = {}
    index = [indices.setdefault(item, len(indices)) for item in items]
    return list(indices), index


def read_states(responses: Sequence[tuple[Sequence[int], Sequence[int]]], reader: StateReader) -> States:
    """Compute states s_0..s_T of (prompt, response) pairs at the layer of the reader."""
    named = [Response(str(number), 0, *pair) for number, pair in enumerate(responses)]
    return dump(reader.model, named, [reader.layer], reader.dtype, reader.batch_tokens)


def paragraph_features(
    responses: Sequence[tuple[Sequence[int], Sequence[int]]], boundaries: Sequence[Sequence[int]], reader: StateReader
) -> list[Float[Tensor, "K d"]]:
    """Compute causally normalised mean states of paragraphs of (prompt, response) pairs, between c_0 < ... < c_K = T.

    They are the features that dopamine probes are trained on with `normalization: causal`, and those of a paragraph do
    not depend on later tokens. c_0 may lie inside the response: earlier tokens are then read, not averaged.
    """
    if not responses:
        return []
    states = read_states(responses, reader)
    spans = pairwise(states.offsets.tolist())
    return features.paragraph_features(states.layers[reader.layer], spans, boundaries, zscore_causal)


def dopamine_scores(steps: Sequence[Step], probes: Probes, reader: StateReader) -> list[float]:
    """Predict the TD error of each paragraph: the mean over the probes on true labels of the reader's layer.

    A paragraph without tokens (the response has ended before it) changes nothing: 0.

    Raises:
        UserError: there is no such probe, or it is of another width.
    """
    chosen = probes_for(probes, reader, "dopamine")
    unique, index = distinct(steps)
    full = [step for step in unique if step.paragraph]
    pairs = [(step.prompt_ids, step.before + step.paragraph) for step in full]
    ends = [[len(step.before), len(step.before) + len(step.paragraph)] for step in full]
    inputs = paragraph_features(pairs, ends, reader)
    predicted = outputs(chosen, torch.cat(inputs)).mean(0).tolist() if inputs else []
    known = dict(zip(full, predicted, strict=True))
    scores = [known.get(step, 0.0) for step in unique]
    return [scores[i] for i in index]


def log_ratio_scores(steps: Sequence[Step], logprobs: Sequence[Sequence[float]], reference: Engine) -> list[float]:
    """Sum log pi - log pi_ref over each paragraph's tokens (implicit PRM); 0 for one without tokens.

    `logprobs` are log pi as the tokens were drawn: before temperature, of the whole vocabulary. Where steps are the
    same, those of the first count. `reference` scores the same token ids.
    """
    unique, index = distinct(steps)
    first = dict(zip(reversed(index), reversed(logprobs), strict=True))
    scored = reference.score([step.prompt_ids + step.before + step.paragraph for step in unique])
    scores = []
    for i, step in enumerate(unique):
        n = len(step.paragraph)
        reference_sum = float(scored[i][-n:].sum(dtype=np.float64)) if n else 0.0
        scores.append(float(np.sum(first[i], dtype=np.float64)) - reference_sum)
    return [scores[i] for i in index]


def random_scores(n: int, *name: Part) -> list[float]:
    """Draw `n` uniform numbers from the named stream."""
    return generator("random paragraphs", *name).random(n).tolist()


def value_scores(
    responses: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], probes: Probes, reader: StateReader
) -> list[float]:
    """Predict V(s_T) of (prompt, response) pairs: the mean over value probes on true labels of the reader's layer.

    Raises:
        UserError: there is no such probe, or it is of another width.
    """
    chosen = probes_for(probes, reader, "value")
    unique, index = distinct(responses)
    if not unique:
        return []
    states = read_states(unique, reader)
    last = states.layers[reader.layer][states.offsets[1:] - 1]
    values = outputs(chosen, last).sigmoid().mean(0).tolist()
    return [values[i] for i in index]


def probes_for(probes: Probes, reader: StateReader, kind: str) -> Probes:
    """Return the probes on true labels of the reader's layer.

    Raises:
        UserError: there are none, or they are of another width than the model.
    """
    chosen = probes.of(layer=reader.layer, labels="true")
    width = reader.model.config.get_text_config(decoder=True).hidden_size
    if not chosen.specs:
        layers = ", ".join(map(str, sorted({spec.layer for spec in probes.specs}))) or "none"
        raise UserError(f"{kind} probes: none of layer {reader.layer} (layers with some: {layers}); name one of those")
    if chosen.w1.shape[-1] != width:
        widths = f"read {chosen.w1.shape[-1]} neurons, but the model has {width}"
        raise UserError(f"{kind} probes: {widths}; take the probes of this model")
    return chosen


def check_same_vocabulary(
    tokenizer: "PreTrainedTokenizerBase", reference: "PreTrainedTokenizerBase", name: str, reference_name: str
) -> None:
    """Refuse a reference model that reads other token ids.

    Raises:
        UserError: a token has another id, or none, with one of the two.
    """
    ids, reference_ids = tokenizer.get_vocab(), reference.get_vocab()
    if ids == reference_ids:
        return
    tokens = ids.keys() | reference_ids.keys()
    token = min(token for token in tokens if ids.get(token) != reference_ids.get(token))
    raise UserError(
        f"configuration: search.reference: {reference_name} does not share the tokenizer of {name} (token {token!r} is "
        f"{reference_ids.get(token)} there, {ids.get(token)} here); name the model that {name} was made from"
    )
