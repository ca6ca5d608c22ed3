"""Saved probes on new text: confidence before an answer, values and dopamine scores along it (method, sections 3 to 5).

A probe reads the states of token ids, so any engine may have written the answer. The value probe is read at s_0, at the
end of every paragraph and at the last token; the dopamine probe at the paragraphs, normalised as in its training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.states import Response, States, batches, dump
from workflow_scripts.lib.probes import features
from workflow_scripts.lib.probes.perceptrons import Probes, load, outputs, ranking
from workflow_scripts.lib.probes.pruning import pruned_outputs, selected_count
from workflow_scripts.lib.storage.identity import VERSION

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NORMALIZATIONS = {"response": features.zscore_response, "causal": features.zscore_causal}
"""Those that need nothing but the answer itself."""


@dataclass(frozen=True)
class Reader:
    """The probes of one file that are used: on true labels, of the wanted layers, with the share of inputs they keep.

    `normalization` is that of a dopamine probe's training, None for a value probe.
    """

    probes: Probes
    keep: float
    normalization: str | None = None

    @property
    def layers(self) -> list[int]:
        """The layers that are read."""
        return sorted({spec.layer for spec in self.probes.specs})

    def predictions(self, inputs: Mapping[int, Float[Tensor, "n d"]]) -> Float[Tensor, "probes n"]:
        """f of every probe at the inputs of its layer, pruned to the most important ones (not retrained)."""
        return torch.cat([self._of_layer(layer, inputs[layer]) for layer in self.layers])

    def _of_layer(self, layer: int, inputs: Float[Tensor, "n d"]) -> Float[Tensor, "probes n"]:
        probes = self.probes.of(layer=layer)
        if self.keep == 1:
            return outputs(probes, inputs)
        count = selected_count(self.keep, inputs.shape[1])
        return next(pruned_outputs(probes, inputs, ranking(probes), [count]))[1]


@dataclass(frozen=True)
class Scores:
    """Of one response with boundaries c_0..c_K: V at each of them [K + 1], and a dopamine score for each step [K].

    V is the mean over layers and seeds of sigmoid(f), a score the mean of f. `steps` is None without a dopamine probe.
    """

    values: list[float]
    steps: list[float] | None


def open_probes(path: Path, kind: str, model: Mapping[str, Any], layer: int | None, keep: float) -> Reader:
    """The probes of a file that are to be used; `kind` is `value` or `dopamine`, `layer` None takes every layer.

    Raises:
        UserError: the file is missing, of another kind or of another model, lacks the layer, or cannot be normalised.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; train the probes of this run first (make run), or name another --{kind}"
        )
    probes, metadata = load(path)
    found = str(metadata.get("kind"))
    if found.partition("_")[0] != kind:
        raise UserError(f"{path}: holds {found} probes; name a file of {kind} probes with --{kind}")
    for key in VERSION:  # the data set may be another
        if metadata.get(key) != model[key]:
            told = f"its probes read a model whose {key} is {metadata.get(key)!r}, not {model[key]!r}"
            raise UserError(f"{path}: {told}; name probes of this very model with --{kind}, or another --run")
    chosen = probes.of(layer=layer, labels="true")
    if not chosen.specs:
        layers = sorted({spec.layer for spec in probes.of(labels="true").specs})
        raise UserError(f"{path}: has no probe of layer {layer}; its layers are {', '.join(map(str, layers))}")
    name = metadata["config"]["normalization"] if kind == "dopamine" else None
    if name is not None and name not in NORMALIZATIONS:
        remedy = "train it with dopamine_probes.normalization causal or response, or name another --dopamine"
        raise UserError(
            f"{path}: normalization {name} needs the training responses, which are not in the file; {remedy}"
        )
    return Reader(chosen, keep, name)


def score_responses(
    model: "PreTrainedModel",
    responses: Sequence[Response],
    boundaries: Sequence[Sequence[int]],
    readers: tuple[Reader, Reader | None],
    dtype: torch.dtype,
    batch_tokens: int,
    report: Callable[[int], None] = lambda done: None,
) -> list[Scores]:
    """Scores of each response, in the order given; no more than one batch of states is held.

    Args:
        model: the model that the probes were trained on.
        responses: prompts and responses; a question alone is a response without tokens.
        boundaries: c_0 = 0 < ... < c_K = T of each response (`models.paragraphs`).
        readers: value probes, dopamine probes or None.
        dtype: what states are rounded to, as the study's stored ones are.
        batch_tokens: tokens at a time, with padding; changes results by rounding at most.
        report: called with the number of responses done.

    Raises:
        UserError: a layer that the model does not have, or states that are not finite.
    """
    layers = sorted({layer for reader in readers if reader for layer in reader.layers})
    found: dict[int, Scores] = {}
    for batch in batches(responses, batch_tokens):
        states = dump(model, [responses[i] for i in batch], layers, dtype, batch_tokens)
        found |= zip(batch, score_states(states, [boundaries[i] for i in batch], *readers), strict=True)
        report(len(batch))
    return [found[i] for i in range(len(responses))]


def score_states(
    states: States, boundaries: Sequence[Sequence[int]], value: Reader, dopamine: Reader | None
) -> list[Scores]:
    """Scores of responses whose states s_0..s_T are there, in their order."""
    starts = states.offsets[:-1].tolist()
    rows = torch.tensor([start + c for start, own in zip(starts, boundaries, strict=True) for c in own])
    predicted = value.predictions({layer: states.layers[layer][rows] for layer in value.layers})
    values = predicted.sigmoid().mean(0).split([len(own) for own in boundaries])
    counts = [len(own) - 1 for own in boundaries]
    if dopamine is None or not sum(counts):
        return [Scores(own.tolist(), None if dopamine is None else []) for own in values]
    steps = dopamine.predictions(step_features(states, boundaries, dopamine)).mean(0).split(counts)
    return [Scores(own.tolist(), several.tolist()) for own, several in zip(values, steps, strict=True)]


def step_features(
    states: States, boundaries: Sequence[Sequence[int]], dopamine: Reader
) -> dict[int, Float[Tensor, "steps d"]]:
    """What the dopamine probes read: normalised means of every paragraph of every response, layer by layer."""
    normalize = NORMALIZATIONS[str(dopamine.normalization)]
    spans = list(pairwise(states.offsets.tolist()))

    def of_layer(block: Float[Tensor, "states d"]) -> Float[Tensor, "steps d"]:
        parts = [
            features.paragraph_means(normalize(block[start:end]), own)
            for (start, end), own in zip(spans, boundaries, strict=True)
        ]
        return torch.cat(parts)

    return {layer: of_layer(states.layers[layer]) for layer in dopamine.layers}
