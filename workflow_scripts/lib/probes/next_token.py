"""Probes of next tokens: softmax(W2 relu(W1 (h - mean) / scale + b1) + b2) over the vocabulary (method, section 6).

From the state s_t of a response, t = 0..T-1, a probe predicts its token t + 1. Each layer's probe is trained alone: its
first weights and the order of its batches come from the seed, the rest from the layer's states. Vocabularies are large,
so logits exist for some rows of a batch at a time; the gradients of these slices add up to the batch's.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy as total_cross_entropy

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import ActivationFiles
from workflow_scripts.lib.probes.data import Responses, take
from workflow_scripts.lib.probes.training import Training, Units, batches, input_scaling
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.runtime.devices import compute_device
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.storage.tensors import read_safetensors, write_safetensors

LOGIT_BYTES = {"cpu": 1 << 27, "cuda": 1 << 30}
"""Logits of one slice; with their gradients they take about three times as much."""

ADDED = (1.0, 0.1, 0.01, 0.001)
"""Candidate smoothing terms, added to every count of the guess that ignores the state."""


@dataclass(frozen=True)
class NtpProbe:
    """One layer's probe: `w1` [H, d], `b1` [H], `w2` [V, H], `b2` [V], `mean` and `scale` [d], all float32."""

    w1: Tensor
    b1: Tensor
    w2: Tensor
    b2: Tensor
    mean: Tensor
    scale: Tensor

    def to(self, device: torch.device) -> "NtpProbe":
        """Return the probe on another device, without gradients."""
        return NtpProbe(**{field.name: getattr(self, field.name).detach().to(device) for field in fields(self)})


@dataclass(frozen=True)
class NextTokens:
    """The tokens that the R responses of one part of the split have to predict, the same at every layer.

    `rows` int64 [R]: their rows in the activation files. `offsets` int64 [R + 1] into `tokens` int64 [N], the
    responses' tokens one after the other. Responses without a token are left out.
    """

    rows: Int[np.ndarray, " responses"]
    offsets: Int[np.ndarray, " bounds"]
    tokens: Int[Tensor, " tokens"]


def next_tokens(
    source: ActivationFiles, responses: Responses, ids: Mapping[tuple[str, int], Sequence[int]], vocabulary: int
) -> NextTokens:
    """Return the tokens of the chosen responses; `ids` gives those of each (problem id, sample).

    Raises:
        UserError: the states are of another response, or a token lies outside the vocabulary.
    """
    chosen, kept = [], []
    for row in responses.rows.tolist():
        problem_id, sample, length = source.rows[row]
        tokens = ids[problem_id, sample]
        where = f"{source.paths[0].parent}: response {problem_id}, sample {sample}"
        if len(tokens) != length:
            problem = f"states of {length} tokens are stored, not of {len(tokens)}"
            raise UserError(f"{where}: {problem}; delete the activations and run again")
        if length and not 0 <= min(tokens) <= max(tokens) < vocabulary:
            raise UserError(f"{where}: has token {max(tokens)}, but the model's vocabulary ends at {vocabulary - 1}")
        if length:
            chosen.append(row)
            kept.append(np.asarray(tokens, dtype=np.int64))
    offsets = np.concatenate([[0], np.cumsum([len(tokens) for tokens in kept])]).astype(np.int64)
    joined = np.concatenate([np.zeros(0, dtype=np.int64), *kept])
    return NextTokens(np.array(chosen, dtype=np.int64), offsets, torch.from_numpy(joined))


def inputs_of(
    states: Float[Tensor, "states d"], offsets: Int[np.ndarray, " bounds"], targets: NextTokens
) -> Float[Tensor, "tokens d"]:
    """Return the states of a layer that the target tokens follow: s_0..s_{T-1} of each response."""
    taken, bounds = take(states, offsets, targets.rows)
    followed = torch.ones(len(taken), dtype=torch.bool)
    followed[torch.from_numpy(bounds[1:] - 1)] = False
    return taken[followed]


def initial_probe(seed: int, hidden: int, vocabulary: int, mean: Float[Tensor, " d"], scale: Tensor) -> NtpProbe:
    """Draw first weights: uniform in +-1/sqrt(inputs), biases too, as in torch's Linear.

    Layers of a seed start with the same weights.
    """
    stream, d = generator("next-token probe weights", seed), len(mean)

    def draw(*shape: int, inputs: int) -> Tensor:
        bound = 1 / math.sqrt(inputs)
        return torch.from_numpy(stream.random(shape, dtype=np.float32)).mul_(2 * bound).sub_(bound)

    w1, b1 = draw(hidden, d, inputs=d), draw(hidden, inputs=d)
    w2, b2 = draw(vocabulary, hidden, inputs=hidden), draw(vocabulary, inputs=hidden)
    return NtpProbe(w1, b1, w2, b2, mean, scale)


def logits(probe: NtpProbe, states: Float[Tensor, "states d"]) -> Float[Tensor, "states vocabulary"]:
    """Return the probe's logits at unscaled states."""
    inputs = (states.float() - probe.mean) / probe.scale
    return torch.addmm(probe.b2, torch.addmm(probe.b1, inputs, probe.w1.T).relu(), probe.w2.T)


def slices(n: int, vocabulary: int, device: torch.device) -> Iterator[slice]:
    """Yield slices of rows; the logits of one slice are in memory at a time."""
    size = max(1, LOGIT_BYTES[device.type] // (4 * vocabulary))
    return (slice(first, min(first + size, n)) for first in range(0, n, size))


def train(
    layer: int,
    states: Float[Tensor, "tokens d"],
    targets: NextTokens,
    vocabulary: int,
    seed: int,
    training: Training,
    progress: Progress,
) -> NtpProbe:
    """Train one layer's probe by AdamW on the mean cross-entropy of each batch's tokens (all weights decay).

    `states` are those of `inputs_of`, of any float type. `layer` is for messages. `training.batch_size` counts
    responses.

    Raises:
        UserError: a state is not finite.
    """
    device = compute_device()
    units = Units({layer: states}, targets.offsets, np.zeros(len(targets.rows)))
    mean, scale = input_scaling(units, training)[layer]
    probe = initial_probe(seed, training.hidden, vocabulary, mean, scale).to(device)
    weights = [
        probe.w1.requires_grad_(),
        probe.b1.requires_grad_(),
        probe.w2.requires_grad_(),
        probe.b2.requires_grad_(),
    ]
    optimiser = torch.optim.AdamW(weights, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True)
    for rows, _, _ in batches(targets.offsets, seed, training.epochs, training.batch_size):
        index = torch.from_numpy(rows)
        inputs, tokens = states[index].to(device), targets.tokens[index].to(device)
        optimiser.zero_grad()
        for part in slices(len(tokens), vocabulary, device):
            loss = total_cross_entropy(logits(probe, inputs[part]), tokens[part], reduction="sum") / len(tokens)
            loss.backward()
        optimiser.step()
        progress.advance()
    return probe.to(torch.device("cpu"))


@torch.no_grad()
def cross_entropy(probe: NtpProbe, states: Float[Tensor, "tokens d"], tokens: Int[Tensor, " tokens"]) -> float | None:
    """Return the mean cross-entropy in nats per token; None without tokens."""
    if not len(tokens):
        return None
    device = compute_device()
    moved, total = probe.to(device), 0.0
    for part in slices(len(tokens), len(probe.b2), device):
        predicted = logits(moved, states[part].to(device))
        total += float(total_cross_entropy(predicted, tokens[part].to(device), reduction="none").double().sum())
    return total / len(tokens)


def unigram_cross_entropy(
    training: Int[Tensor, " training"], validation: Int[Tensor, " validation"], vocabulary: int
) -> float | None:
    """Return nats per validation token of a guess that ignores the state: smoothed training frequencies of tokens.

    Of `ADDED`, the best for the validation part is used: one value alone would give much of a large vocabulary's
    probability to tokens that never occur, and a probe could beat the guess without using the state. None without
    tokens.
    """
    if not len(validation):
        return None
    counts = training.bincount(minlength=vocabulary).double()
    guesses = [counts + added for added in ADDED]
    return min(float((guess.sum().log() - guess.log())[validation].mean()) for guess in guesses)


def save(probes: Mapping[int, NtpProbe], metadata: Mapping[str, Any], path: Path) -> None:
    """Write the probes of all layers, tensors `layer_{l}.w1` and so on; the metadata gain `layers`."""
    names = [field.name for field in fields(NtpProbe)]
    tensors = {f"layer_{layer}.{name}": getattr(probe, name) for layer, probe in probes.items() for name in names}
    write_safetensors(tensors, {**metadata, "layers": sorted(probes)}, path)


def probes_by_origin(path: Path) -> dict[str, NtpProbe]:
    """Return the probes of a file, each by its origin."""
    tensors, metadata = read_safetensors(path)
    origins = dict(zip(metadata["layers"], metadata["origins"], strict=True))
    names = [field.name for field in fields(NtpProbe)]
    return {
        origin: NtpProbe(**{name: tensors[f"layer_{layer}.{name}"] for name in names})
        for layer, origin in origins.items()
    }
