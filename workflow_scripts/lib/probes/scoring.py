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
    """The used probes of one file: on true labels, of the chosen layers, with the share of inputs they keep.

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
        """Return f of every probe at the inputs of its layer, pruned to the most important ones (not retrained)."""
        return torch.cat([self._of_layer(layer, inputs[layer]) for layer in self.layers])

    def _of_layer(self, layer: int, inputs: Float[Tensor, "n d"]) -> Float[Tensor, "probes n"]:
        probes = self.probes.of(layer=layer)
        if self.keep == 1:
            return outputs(probes, inputs)
        count = selected_count(self.keep, inputs.shape[1])
        return next(pruned_outputs(probes, inputs, ranking(probes), [count]))[1]


@dataclass(frozen=True)
class ResponseScores:
    """Scores of one response with boundaries c_0..c_K: V at each of them [K + 1], and a dopamine score per step [K].

    V is the mean over layers and seeds of sigmoid(f), a score the mean of f. `steps` is None without a dopamine probe.
    """

    values: list[float]
    steps: list[float] | None


def open_probes(path: Path, kind: str, model: Mapping[str, Any], layer: int | None, keep: float) -> Reader:
    """Return the probes of a file that are to be used; `kind` is `value` or `dopamine`, `layer` None takes every layer.

    Raises:
        UserError: the file is missing, of another kind or of another model, lacks the layer, or cannot be normalised.
    """
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; train the probes of this run first (make run), or name another --{kind}"
        )
    probes, metadata = load(path)
    stored_kind = str(metadata.get("kind"))
    if stored_kind.partition("_")[0] != kind:
        raise UserError(f"{path}: contains {stored_kind} probes; name a file of {kind} probes with --{kind}")
    for key in VERSION:  # the data set may be another
        if metadata.get(key) != model[key]:
            difference = f"its probes read a model whose {key} is {metadata.get(key)!r}, not {model[key]!r}"
            raise UserError(f"{path}: {difference}; name probes of this very model with --{kind}, or another --run")
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
) -> list[ResponseScores]:
    """Score each response, in the order given; only one batch of states is in memory at a time.

    Args:
        model: the model that the probes were trained on.
        responses: prompts and responses; a question alone is a response without tokens.
        boundaries: c_0 = 0 < ... < c_K = T of each response (`models.paragraphs`).
        readers: value probes, dopamine probes or None.
        dtype: the number format that states are rounded to, as the study's stored states are.
        batch_tokens: tokens at a time, with padding; changes results by rounding at most.
        report: called with the number of responses done.

    Raises:
        UserError: a layer that the model does not have, or states that are not finite.
    """
    layers = sorted({layer for reader in readers if reader for layer in reader.layers})
    by_index: dict[int, ResponseScores] = {}
    for batch in batches(responses, batch_tokens):
        states = dump(model, [responses[i] for i in batch], layers, dtype, batch_tokens)
        by_index |= zip(batch, score_states(states, [boundaries[i] for i in batch], *readers), strict=True)
        report(len(batch))
    return [by_index[i] for i in range(len(responses))]


def score_states(
    states: States, boundaries: Sequence[Sequence[int]], value: Reader, dopamine: Reader | None
) -> list[ResponseScores]:
    """Score responses by their states s_0..s_T, in the order of the states."""
    starts = states.offsets[:-1].tolist()
    rows = torch.tensor([start + c for start, offsets in zip(starts, boundaries, strict=True) for c in offsets])
    predicted = value.predictions({layer: states.layers[layer][rows] for layer in value.layers})
    values = predicted.sigmoid().mean(0).split([len(offsets) for offsets in boundaries])
    counts = [len(offsets) - 1 for offsets in boundaries]
    if dopamine is None or not sum(counts):
        return [ResponseScores(v.tolist(), None if dopamine is None else []) for v in values]
    steps = dopamine.predictions(step_features(states, boundaries, dopamine)).mean(0).split(counts)
    return [ResponseScores(v.tolist(), scores.tolist()) for v, scores in zip(values, steps, strict=True)]


def step_features(
    states: States, boundaries: Sequence[Sequence[int]], dopamine: Reader
) -> dict[int, Float[Tensor, "steps d"]]:
    """Return the dopamine probes' inputs: normalised means of every paragraph of every response, by layer."""
    normalize = NORMALIZATIONS[str(dopamine.normalization)]
    spans = list(pairwise(states.offsets.tolist()))
    return {
        layer: torch.cat(features.paragraph_features(states.layers[layer], spans, boundaries, normalize))
        for layer in dopamine.layers
    }
