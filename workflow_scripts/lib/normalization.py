"""Normalising hidden states over a response and averaging them over its paragraphs (method, section 5; paper, equations
12-14).

All functions take the states s_0 (the last prompt token), s_1, ..., s_T of one response and give a row for each of its
T tokens. Standard deviations are those of the population; a neuron that does not vary is 0 after normalisation.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor


def zscore_response(states: Float[Tensor, "T+1 d"]) -> Float[Tensor, "T d"]:
    """Z-scores of the tokens over all of them, s_0 left out (equations 12, 13): this sees the future."""
    tokens = states[1:].double()
    if not len(tokens):
        return tokens.float()
    centred = tokens - tokens[:1]  # a constant neuron then has no variance at all, whatever rounding does
    centred = centred - centred.mean(0)
    return divide(centred, centred.square().mean(0))


def zscore_causal(states: Float[Tensor, "T+1 d"]) -> Float[Tensor, "T d"]:
    """Z-score of each token over s_0 and the tokens up to and including it; nothing later is used."""
    centred = states.double() - states[:1].double()  # from s_0, so that sums of squares do not swamp small variances
    count = torch.arange(1, len(states) + 1, dtype=torch.float64, device=states.device)[:, None]
    mean = centred.cumsum(0) / count
    variance = centred.square().cumsum(0) / count - mean.square()
    rounding = 1e-12 * centred.square().cummax(0).values  # of the difference of two sums: no variance below it is real
    return divide(centred - mean, torch.where(variance > rounding, variance, 0.0))[1:]


def zscore_calibrated(
    states: Float[Tensor, "T+1 d"], mean: Float[Tensor, " d"], deviation: Float[Tensor, " d"]
) -> Float[Tensor, "T d"]:
    """Z-scores of the tokens with a mean and a deviation measured elsewhere (`moments` of the training responses)."""
    return divide(states[1:].double() - mean.double(), deviation.double().square())


def moments(states: Sequence[Float[Tensor, "_ d"]]) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Mean and standard deviation (float64) of every neuron over all the given states together."""
    count = sum(len(block) for block in states)
    origin = states[0][:1].double()
    mean = torch.stack([(block.double() - origin).sum(0) for block in states]).sum(0) / count
    squares = torch.stack([(block.double() - origin - mean).square().sum(0) for block in states]).sum(0)
    return origin[0] + mean, (squares / count).sqrt()


def divide(centred: Float[Tensor, "T d"], variance: Float[Tensor, "*T d"]) -> Float[Tensor, "T d"]:
    """`centred` over the root of `variance` in float32; 0 where the variance is 0."""
    return torch.where(variance > 0, centred / variance.sqrt(), 0.0).float()


def paragraph_means(normalized: Float[Tensor, "T d"], boundaries: Sequence[int]) -> Float[Tensor, "K d"]:
    """Mean over the tokens of each paragraph (equation 14); `boundaries` are c_0 = 0 < ... < c_K = T."""
    if len(boundaries) < 2:
        return normalized[:0]
    return torch.stack([normalized[start:end].mean(0) for start, end in pairwise(boundaries)])
