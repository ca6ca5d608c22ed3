"""Training of probes: all layers and label kinds of a seed together, each exactly as if it were trained alone.

Probes that share a seed see the same batches, so that each batch is read once for all of them (a cohort); cohorts
follow one another. A probe's first weights and the order of its batches come from its seed alone, and every sum is
taken over tensors of its own, never over a stack, because the size of a stack would decide the rounding: a probe is the
same to the last bit, whichever others are trained with it.

The gradient of the two-layer perceptron is written out instead of using autograd: one hidden array serves forward
and backward pass, which is about twice as fast on a CPU.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.probes.perceptrons import PARAMETERS, Probes, Spec, concatenate, initial_weights, shuffle
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.runtime.devices import compute_device
from workflow_scripts.lib.seeds import generator

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(f [p, B], labels [p, B], last [B]) -> loss of each probe [p]."""

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
    """Return mean and population deviation of each coordinate, float32 [d].

    Without states they are 0 and 1; a deviation of 0 (up to rounding) becomes 1.

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
    """Return mean and scale of each layer's inputs; 0 and 1 for `none`."""
    result = {layer: moments(states, layer) for layer, states in units.layers.items()}
    if training.input_scaling == "none":
        result = {layer: (torch.zeros_like(mean), torch.ones_like(scale)) for layer, (mean, scale) in result.items()}
    return result


def batches(
    offsets: Int[np.ndarray, " bounds"], seed: int, epochs: int, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Yield (rows [B], unit of each row [B], whether the row is its unit's last [B]), units reordered every epoch."""
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
    inputs: Float[Tensor, "states d"],
    labels: Float[Tensor, " states"],
    last: Bool[Tensor, " states"],
    loss: Loss,
) -> None:
    """Fill `gradients` (same names and shapes as `weights`) with the gradient of one probe's loss."""
    hidden = torch.addmm(weights["b1"], inputs, weights["w1"].T).relu_()
    f = torch.addmv(weights["b2"], hidden, weights["w2"])
    with torch.enable_grad():
        f.requires_grad_()
        (g,) = torch.autograd.grad(loss(f[None], labels[None], last).sum(), f)
    gradients["b2"].copy_(g.sum())
    torch.mv(hidden.T, g, out=gradients["w2"])
    hidden.sign_()  # relu's derivative: 1 where the hidden unit is on, else 0
    torch.mv(hidden.T, g, out=gradients["b1"]).mul_(weights["w2"])
    hidden.mul_(g[:, None])
    torch.mm(hidden.T, inputs, out=gradients["w1"])
    gradients["w1"].mul_(weights["w2"][:, None])


class Cohort:
    """Weights of n probes that share a seed, their gradients, and AdamW over them (all weights decay, biases too)."""

    def __init__(self, seed: int, d: int, n: int, training: Training, device: torch.device) -> None:
        first = initial_weights(seed, d, training.hidden, n)
        self.weights = [{name: tensor[i].clone().to(device) for name, tensor in first.items()} for i in range(n)]
        self.gradients = [{name: torch.zeros_like(tensor) for name, tensor in one.items()} for one in self.weights]
        for weights, gradients in zip(self.weights, self.gradients, strict=True):
            for name, tensor in weights.items():
                tensor.grad = gradients[name]
        every = [tensor for one in self.weights for tensor in one.values()]
        self.optimiser = torch.optim.AdamW(
            every, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
        )

    def step(self, inputs: Sequence[Tensor], labels: Sequence[Tensor], last: Tensor, loss: Loss) -> None:
        """Take one step on one batch: states [B, d] and labels [B] of each probe."""
        for weights, gradients, states, targets in zip(self.weights, self.gradients, inputs, labels, strict=True):
            set_gradients(weights, gradients, states, targets, last, loss)
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
    moved = {layer: [tensor.to(device) for tensor in scaling[layer]] for layer in layers}
    by_kind = {"true": units.labels, "shuffled": shuffle(units.labels, seed)}
    labels = {kind: torch.from_numpy(array).float() for kind, array in by_kind.items()}
    cohort = Cohort(seed, len(scaling[layers[0]][0]), len(specs), training, device)
    for rows, owner, last in batches(units.offsets, seed, training.epochs, training.batch_size):
        index, owners = torch.from_numpy(rows), torch.from_numpy(owner)
        taken = {layer: units.layers[layer].index_select(0, index).to(device).float() for layer in layers}
        states = {layer: taken[layer].sub_(mean).div_(scale) for layer, (mean, scale) in moved.items()}
        repeated = {kind: tensor[owners].to(device) for kind, tensor in labels.items()}
        cohort.step(
            [states[spec.layer] for spec in specs],
            [repeated[spec.labels] for spec in specs],
            torch.from_numpy(last).to(device),
            loss,
        )
        progress.advance()
    finished = {name: torch.stack([one[name].detach().cpu() for one in cohort.weights]) for name in PARAMETERS}
    mean, scale = (torch.stack([scaling[spec.layer][i] for spec in specs]) for i in (0, 1))
    return Probes(list(specs), **finished, mean=mean, scale=scale)


def n_batches(units: int, seeds: int, training: Training) -> int:
    """Count the steps of `train`: one per batch, epoch and cohort."""
    return seeds * training.epochs * -(-units // training.batch_size)


def train(units: Units, specs: Sequence[Spec], training: Training, loss: Loss, progress: Progress) -> Probes:
    """Train probes of the layers in `units`; the result keeps the order of `specs`.

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
