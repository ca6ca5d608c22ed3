"""Prune curves: a probe's predictions from its k most important inputs alone, for every k, in one pass over the inputs.

Inputs are taken from the first to the last of a ranking; the hidden layer's pre-activations grow by each block of
inputs between two prune ratios, so each input is multiplied once, whatever the number of ratios (method, section 4).
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workflow_scripts.lib.probes.perceptrons import Probes, Spec, scaled
from workflow_scripts.lib.seeds import generator


def kept_count(ratio: float, d: int) -> int:
    """Count the inputs kept at a prune ratio: max(1, round((1 - ratio) d))."""
    return selected_count(1 - ratio, d)


def pruned_outputs(
    probes: Probes,
    states: Float[Tensor, "states d"],
    rankings: Int[Tensor, "probes d"],
    counts: Sequence[int],
) -> Iterator[tuple[int, Float[Tensor, "probes states"]]]:
    """Yield (k, f(h) with the first k inputs of each probe's ranking, the rest zero after scaling), k ascending.

    Args:
        probes: the stack.
        states: hidden states, unscaled.
        rankings: each row is a permutation of the inputs; the first ones are kept longest.
        counts: the numbers of kept inputs; equal ones are computed once.
    """
    inputs = scaled(probes, states)
    before = probes.b1[:, None].expand(-1, len(states), -1).clone()
    n_added = 0
    for k in sorted(set(counts)):
        block = rankings[:, n_added:k]
        columns = torch.gather(inputs, 2, block[:, None].expand(-1, len(states), -1))
        weights = torch.gather(probes.w1, 2, block[:, None].expand(-1, probes.w1.shape[1], -1))
        before.baddbmm_(columns, weights.transpose(1, 2))
        n_added = k
        yield k, torch.bmm(before.relu(), probes.w2[:, :, None])[..., 0] + probes.b2[:, None]


def curve(
    probes: Probes, states: Float[Tensor, "states d"], rankings: Int[Tensor, "probes d"], ratios: Sequence[float]
) -> Float[np.ndarray, "ratios probes states"]:
    """Return f(h) of each pruned probe at each state, for the prune ratios in the order given."""
    counts = [kept_count(ratio, states.shape[1]) for ratio in ratios]
    by_count = {k: f.numpy() for k, f in pruned_outputs(probes, states, rankings, counts)}
    return np.stack([by_count[k] for k in counts])


def random_rankings(specs: Sequence[Spec], d: int, draw: int, seed: int) -> Int[Tensor, "probes d"]:
    """Draw a uniform permutation of the inputs for each probe.

    It is named by (seed of the pruning, layer, draw): probes of one layer that differ in their training seed keep the
    same inputs, so a band over draws is a band over sets of inputs.
    """
    orders = [generator("kept at random", seed, spec.layer, draw).permutation(d) for spec in specs]
    return torch.from_numpy(np.stack(orders))


def kept_inputs(ranking: Int[Tensor, " d"], ratio: float) -> Int[Tensor, " kept"]:
    """Return indices of the inputs kept at a prune ratio, ascending."""
    return ranking[: kept_count(ratio, len(ranking))].sort().values


def selected_count(share: float, d: int) -> int:
    """Count the neurons at a share of d: max(1, round(share d)).

    Python's `round`: an exact half goes to the even neighbour. The product is rounded to nine decimals first, so that
    the rounding error of a share such as `1 - 0.9` does not decide which side of a half a count falls on.
    """
    return max(1, round(round(share * d, 9)))
