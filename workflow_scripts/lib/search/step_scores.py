"""Scores of candidate paragraphs and of whole responses, from token ids alone (method, section 9; paper, Section 5.2).

A `Step` is a candidate paragraph in its place. Everything here works on lists of them: steps of many problems go
through a model together, and steps that are the same tokens get the same score, whatever batch they meet in.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.engines.interface import Engine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.states import Response, States, dump
from workflow_scripts.lib.probes.features import paragraph_means, zscore_causal
from workflow_scripts.lib.probes.perceptrons import Probes, outputs
from workflow_scripts.lib.seeds import Part, generator

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Step:
    """A candidate `paragraph` after a prompt and `before`, the response so far; all token ids."""

    prompt_ids: tuple[int, ...]
    before: tuple[int, ...]
    paragraph: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """How states are read: by which model, at which layer, stored in which number format, how many tokens at a time.

    `dtype` is that of the activations that the probes were trained on: the same rounding gives the same features.
    """

    model: "PreTrainedModel"
    layer: int
    dtype: torch.dtype
    batch_tokens: int


def distinct(items: Sequence[T]) -> tuple[list[T], list[int]]:
    """Each item once, in the order of its first occurrence, and where each of the given ones is found there."""
    places: dict[T, int] = {}
    index = [places.setdefault(item, len(places)) for item in items]
    return list(places), index


def read_states(responses: Sequence[tuple[Sequence[int], Sequence[int]]], reading: Reading) -> States:
    """States s_0..s_T of (prompt, response) pairs at the layer that is read."""
    named = [Response(str(place), 0, *pair) for place, pair in enumerate(responses)]
    return dump(reading.model, named, [reading.layer], reading.dtype, reading.batch_tokens)


def paragraph_features(
    responses: Sequence[tuple[Sequence[int], Sequence[int]]], boundaries: Sequence[Sequence[int]], reading: Reading
) -> list[Float[Tensor, "K d"]]:
    """Causally normalised mean states of the paragraphs of (prompt, response) pairs, between c_0 < ... < c_K = T.

    They are the features that dopamine probes are trained on with `normalization: causal`, and those of a paragraph do
    not depend on what follows it. c_0 may lie inside the response: what comes before is then read, not averaged.
    """
    if not responses:
        return []
    states = read_states(responses, reading)
    spans = zip(states.offsets[:-1].tolist(), states.offsets[1:].tolist(), boundaries, strict=True)
    layer = states.layers[reading.layer]
    return [paragraph_means(zscore_causal(layer[start:end]), several) for start, end, several in spans]


def dopamine_scores(steps: Sequence[Step], probes: Probes, reading: Reading) -> list[float]:
    """The predicted TD error of each paragraph, the mean over the probes on true labels of the layer that is read.

    A paragraph without tokens (the response ends where it stands) changes nothing: 0.

    Raises:
        UserError: there is no such probe, or it is of another width.
    """
    chosen = probes_for(probes, reading, "dopamine")
    unique, index = distinct(steps)
    full = [step for step in unique if step.paragraph]
    pairs = [(step.prompt_ids, step.before + step.paragraph) for step in full]
    ends = [[len(step.before), len(step.before) + len(step.paragraph)] for step in full]
    features = paragraph_features(pairs, ends, reading)
    found = outputs(chosen, torch.cat(features)).mean(0).tolist() if features else []
    known = dict(zip(full, found, strict=True))
    scores = [known.get(step, 0.0) for step in unique]
    return [scores[place] for place in index]


def log_ratio_scores(steps: Sequence[Step], logprobs: Sequence[Sequence[float]], reference: Engine) -> list[float]:
    """The sum over each paragraph's tokens of log pi - log pi_ref (implicit PRM); 0 for one without tokens.

    `logprobs` are log pi as the tokens were drawn: before temperature, of the whole vocabulary. Where steps are the
    same, those of the first count. `reference` scores the same token ids.
    """
    unique, index = distinct(steps)
    first = dict(zip(reversed(index), reversed(logprobs), strict=True))
    scored = reference.score([step.prompt_ids + step.before + step.paragraph for step in unique])
    found = []
    for place, step in enumerate(unique):
        n = len(step.paragraph)
        reference_sum = float(scored[place][-n:].sum(dtype=np.float64)) if n else 0.0
        found.append(float(np.sum(first[place], dtype=np.float64)) - reference_sum)
    return [found[place] for place in index]


def random_scores(n: int, *name: Part) -> list[float]:
    """`n` uniform numbers from the named stream."""
    return generator("random paragraphs", *name).random(n).tolist()


def value_scores(
    responses: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], probes: Probes, reading: Reading
) -> list[float]:
    """V(s_T) of (prompt, response) pairs: the mean over the value probes on true labels of the layer that is read.

    Raises:
        UserError: there is no such probe, or it is of another width.
    """
    chosen = probes_for(probes, reading, "value")
    unique, index = distinct(responses)
    if not unique:
        return []
    states = read_states(unique, reading)
    last = states.layers[reading.layer][states.offsets[1:] - 1]
    found = outputs(chosen, last).sigmoid().mean(0).tolist()
    return [found[place] for place in index]


def probes_for(probes: Probes, reading: Reading, kind: str) -> Probes:
    """The probes on true labels of the layer that is read.

    Raises:
        UserError: there are none, or they are of another width than the model.
    """
    chosen = probes.of(layer=reading.layer, labels="true")
    width = reading.model.config.get_text_config(decoder=True).hidden_size
    if not chosen.specs:
        have = ", ".join(map(str, sorted({spec.layer for spec in probes.specs}))) or "none"
        raise UserError(f"{kind} probes: none of layer {reading.layer} (layers with some: {have}); name one of those")
    if chosen.w1.shape[-1] != width:
        found = f"read {chosen.w1.shape[-1]} neurons, but the model has {width}"
        raise UserError(f"{kind} probes: {found}; take the probes of this model")
    return chosen


def check_same_vocabulary(
    tokenizer: "PreTrainedTokenizerBase", reference: "PreTrainedTokenizerBase", name: str, reference_name: str
) -> None:
    """Refuse a reference model that reads other token ids.

    Raises:
        UserError: a token has another id, or none, with one of the two.
    """
    ours, theirs = tokenizer.get_vocab(), reference.get_vocab()
    if ours == theirs:
        return
    token = min(token for token in ours.keys() | theirs.keys() if ours.get(token) != theirs.get(token))
    raise UserError(
        f"configuration: search.reference: {reference_name} does not share the tokenizer of {name} (token {token!r} is "
        f"{theirs.get(token)} there, {ours.get(token)} here); name the model that {name} was made from"
    )
