"""Training of stacked probes: all layers and label kinds of a seed at once, each exactly as if it were trained alone.

Probes that share a seed see the same batches, so they form one stack (a cohort); cohorts follow one another. A probe's
first weights and the order of its batches come from its seed alone, and AdamW works element by element: stacking
changes only how the arithmetic is laid out.

The gradient of the two-layer perceptron is written out rather than left to autograd: one hidden array serves forward
and backward pass, in slices of probes that stay in the processor's cache, which is about twice as fast on a CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workflow_scripts.lib.devices import compute_device
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.probes import Probes, Spec, concatenate, initial_weights, shuffle
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.seeds import generator

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(f [p, B], labels [p, B], last [B]) -> loss of each probe [p]."""

SLICE_BYTES = {"cpu": 3 << 19, "cuda": 2 << 30}
SCALINGS = ("none", "zscore")


@dataclass(frozen=True)
class Training:
    """Size and optimiser of a probe (paper, Table 7). `batch_size` counts units: responses, or paragraphs."""

    hidden: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    input_scaling: str

    def __post_init__(self) -> None:
        """Refuse a scaling that is not known."""
        if self.input_scaling not in SCALINGS:
            raise ValueError(f"input_scaling {self.input_scaling!r} is none of {', '.join(SCALINGS)}")


@dataclass(frozen=True)
class Units:
    """Training data: unit u (a response, or a paragraph) owns rows `offsets[u]` to `offsets[u + 1]` of every layer.

    `layers`: layer -> states [S, d], any float type (converted batch by batch). `offsets`: int64 [U + 1].
    `labels`: float64 [U].
    """

    layers: dict[int, Tensor]
    offsets: Int[np.ndarray, " bounds"]
    labels: Float[np.ndarray, " units"]


def moments(states: Float[Tensor, "states d"], layer: int) -> tuple[Tensor, Tensor]:
    """Mean and population deviation of each coordinate, float32 [d]; without states 0, and a deviation of nothing is 1.

    Raises:
        UserError: a state is not finite.
    """
    if not len(states):
        return torch.zeros(states.shape[1]), torch.ones(states.shape[1])
    parts = states.split(1 + (1 << 18) // states.shape[1])  # small enough for the processor's cache
    mean = torch.stack([part.sum(0, dtype=torch.float64) for part in parts]).sum(0) / len(states)
    if not mean.isfinite().all():
        raise UserError(f"layer {layer}: hidden states are not finite; store them as float32 (activations: dtype)")
    variance = torch.stack([(part - mean).square().sum(0) for part in parts]).sum(0) / len(states)
    deviation = variance.sqrt()
    deviation[deviation <= 1e-7 * mean.abs()] = 1.0
    return mean.float(), deviation.float()


def input_scaling(units: Units, training: Training) -> dict[int, tuple[Tensor, Tensor]]:
    """Mean and scale of each layer's inputs; 0 and 1 for `none`."""
    result = {layer: moments(states, layer) for layer, states in units.layers.items()}
    if training.input_scaling == "none":
        result = {layer: (torch.zeros_like(mean), torch.ones_like(scale)) for layer, (mean, scale) in result.items()}
    return result


def batches(
    offsets: Int[np.ndarray, " bounds"], seed: int, epochs: int, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(rows [B], unit of each row [B], whether the row is its unit's last [B]); a new order of units in every epoch."""
    lengths = np.diff(offsets)
    for epoch in range(epochs):
        order = generator("batch order", seed, epoch).permutation(len(lengths))
        for first in range(0, len(order), batch_size):
            chosen = order[first : first + batch_size]
            counts = lengths[chosen]
            ends = np.cumsum(counts)
            rows = np.arange(ends[-1]) + np.repeat(offsets[chosen] - (ends - counts), counts)
            last = np.zeros(ends[-1], dtype=bool)
            last[ends - 1] = True
            yield rows, np.repeat(chosen, counts), last


def set_gradients(
    weights: dict[str, Tensor],
    gradients: dict[str, Tensor],
    inputs: Float[Tensor, "probes states d"],
    labels: Float[Tensor, "probes states"],
    last: Bool[Tensor, " states"],
    loss: Loss,
    buffer: Tensor,
) -> None:
    """Fill `gradients` (same names and shapes as `weights`) with the gradient of each probe's loss.

    `buffer` is scratch of at least probes x states x hidden numbers: first the hidden layer, then what flows back
    through it.
    """
    p, b = labels.shape
    hidden = buffer[: p * b * weights["w1"].shape[1]].view(p, b, -1)
    torch.baddbmm(weights["b1"][:, None], inputs, weights["w1"].transpose(1, 2), out=hidden).relu_()
    f = torch.bmm(hidden, weights["w2"][:, :, None])[..., 0] + weights["b2"][:, None]
    with torch.enable_grad():
        f.requires_grad_()
        (g,) = torch.autograd.grad(loss(f, labels, last).sum(), f)
    gradients["b2"].copy_(g.sum(1))
    gradients["w2"].copy_(torch.bmm(g[:, None], hidden)[:, 0])
    hidden.sign_()  # relu's derivative: 1 where the hidden unit is on, else 0
    gradients["b1"].copy_(torch.bmm(g[:, None], hidden)[:, 0]).mul_(weights["w2"])
    hidden.mul_(g[..., None])
    torch.bmm(hidden.transpose(1, 2), inputs, out=gradients["w1"])
    gradients["w1"].mul_(weights["w2"][:, :, None])


class Stack:
    """Weights of n probes that share a seed, their gradients, and AdamW over them (all weights decay, biases too)."""

    def __init__(self, seed: int, d: int, n: int, training: Training, device: torch.device) -> None:
        first = initial_weights(seed, d, training.hidden, n)
        self.weights = {name: tensor.to(device) for name, tensor in first.items()}
        self.gradients = {name: torch.zeros_like(tensor) for name, tensor in self.weights.items()}
        for name, tensor in self.weights.items():
            tensor.grad = self.gradients[name]
        self.optimiser = torch.optim.AdamW(
            self.weights.values(), lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )
        self.buffer = torch.empty(0, device=device)
        self.hidden, self.n = training.hidden, n

    def step(self, inputs: Callable[[slice], Tensor], labels: Tensor, last: Tensor, loss: Loss) -> None:
        """One step on one batch. `inputs` gives the states [p, B, d] that a slice of the probes sees."""
        each = len(last) * self.hidden
        size = min(self.n, max(1, SLICE_BYTES[last.device.type] // (4 * each)))
        if self.buffer.numel() < size * each:
            self.buffer = torch.empty(size * each, device=last.device)
        for start in range(0, self.n, size):
            part = slice(start, start + size)
            weights, gradients = ({k: v[part] for k, v in of.items()} for of in (self.weights, self.gradients))
            set_gradients(weights, gradients, inputs(part), labels[part], last, loss, self.buffer)
        self.optimiser.step()


@torch.no_grad()
def train_cohort(
    units: Units,
    specs: Sequence[Spec],
    scaling: dict[int, tuple[Tensor, Tensor]],
    training: Training,
    loss: Loss,
    progress: Progress,
) -> Probes:
    """Train the probes of one seed, all layers and label kinds together."""
    seed, layers = specs[0].seed, sorted({spec.layer for spec in specs})
    device = compute_device()
    mean, scale = (torch.stack([scaling[layer][i] for layer in layers])[:, None].to(device) for i in (0, 1))
    place = torch.tensor([layers.index(spec.layer) for spec in specs], device=device)
    by_kind = {"true": units.labels, "shuffled": shuffle(units.labels, seed)}
    labels = torch.from_numpy(np.stack([by_kind[spec.labels] for spec in specs])).float().to(device)
    stack = Stack(seed, mean.shape[-1], len(specs), training, device)
    for rows, owner, last in batches(units.offsets, seed, training.epochs, training.batch_size):
        index = torch.from_numpy(rows)
        states = torch.stack([units.layers[layer].index_select(0, index) for layer in layers]).to(device).float()
        states.sub_(mean).div_(scale)
        repeated = labels[:, torch.from_numpy(owner).to(device)]
        stack.step(lambda part, of=states: of[place[part]], repeated, torch.from_numpy(last).to(device), loss)  # type: ignore[misc]
        progress.advance()
    finished = {name: tensor.detach().cpu() for name, tensor in stack.weights.items()}
    return Probes(list(specs), **finished, mean=mean[place, 0].cpu(), scale=scale[place, 0].cpu())


def n_batches(units: int, seeds: int, training: Training) -> int:
    """How many steps `train` takes: one per batch, epoch and cohort."""
    return seeds * training.epochs * -(-units // training.batch_size)


def train(units: Units, specs: Sequence[Spec], training: Training, loss: Loss, progress: Progress) -> Probes:
    """Train probes of the layers that `units` holds; the result keeps the order of `specs`.

    Raises:
        UserError: a layer's states are not finite.
    """
    scaling = input_scaling(units, training)
    order: list[int] = []
    parts = []
    for seed in dict.fromkeys(spec.seed for spec in specs):
        places = [i for i, spec in enumerate(specs) if spec.seed == seed]
        order += places
        parts.append(train_cohort(units, [specs[i] for i in places], scaling, training, loss, progress))
    return concatenate(parts).select(np.argsort(order).tolist())
