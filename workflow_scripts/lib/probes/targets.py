"""Training targets of the value probe and their losses (method, section 3).

A batch holds the states of several responses one after the other: state s_0 of the first, ..., its s_T, then s_0 of
the second, and so on. `last` marks the states s_T; nothing else separates the responses. Every probe of a stack
has its own row, and its own rewards (a probe on shuffled labels sees other rewards than its neighbour).

TD error: delta_t = gamma V(h_{t+1}) - V(h_t) for t < T, delta_T = r - V(h_T). The loss is the mean of delta_t^2 over
the states of the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

GRADIENTS = ("semi", "residual")


@dataclass(frozen=True)
class Target:
    """The training target of V(h_t).

    `name`: one of `CATALOGUE`. `gradient` belongs to `td`: `semi` keeps the target constant, `residual` differentiates
    both sides of the TD error (in a stochastic chain, its fixed point is not the value function). `td_lambda`: weight
    of the longer returns, in [0, 1].
    """

    name: str = "td"
    gradient: str = "semi"
    td_lambda: float = 0.95
    gamma: float = 1 - 1e-5

    def __post_init__(self) -> None:
        """Refuse a name that is not known."""
        if self.name not in CATALOGUE:
            raise ValueError(f"target {self.name!r} is none of {', '.join(CATALOGUE)}")
        if self.gradient not in GRADIENTS:
            raise ValueError(f"td_gradient {self.gradient!r} is none of {', '.join(GRADIENTS)}")


def lambda_returns(
    values: Float[Tensor, "probes states"],
    rewards: Float[Tensor, "probes states"],
    last: Bool[Tensor, " states"],
    gamma: float,
    td_lambda: float,
) -> Float[Tensor, "probes states"]:
    """Compute G_T = r and G_t = gamma ((1 - lambda) V(h_{t+1}) + lambda G_{t+1}) from the current values.

    The recursion G_t = a_t + m_t G_{t+1} is solved by doubling: after i rounds each state has looked 2^i states ahead.
    At s_T m is 0, so nothing crosses into the next response. log2(T) passes over the batch instead of T steps. No
    gradient flows.
    """
    with torch.no_grad():
        result = torch.where(last, rewards, gamma * (1 - td_lambda) * following(values))
        factor = torch.where(last, 0.0, gamma * td_lambda).to(values).expand_as(values).clone()
        step = 1
        while step < values.shape[1] and bool(factor.any()):
            result[:, :-step] += factor[:, :-step] * result[:, step:].clone()
            factor[:, :-step] *= factor[:, step:].clone()
            factor[:, -step:] = 0
            step *= 2
        return result


def following(values: Float[Tensor, "probes states"]) -> Float[Tensor, "probes states"]:
    """Return V(h_{t+1}) in the place of V(h_t); the entries at the states s_T have no meaning."""
    return torch.roll(values, -1, dims=1)


def targets(
    values: Float[Tensor, "probes states"],
    rewards: Float[Tensor, "probes states"],
    last: Bool[Tensor, " states"],
    target: Target,
) -> Float[Tensor, "probes states"]:
    """Return the target of each V(h_t); it carries a gradient only for `td` with `residual`."""
    return CATALOGUE[target.name].of(values, rewards, last, target)


def _td(values: Tensor, rewards: Tensor, last: Tensor, target: Target) -> Tensor:
    """Compute gamma V(h_{t+1}), and r at s_T."""
    ahead = following(values if target.gradient == "residual" else values.detach())
    return torch.where(last, rewards, target.gamma * ahead)


@dataclass(frozen=True)
class ProbeTarget:
    """One training target: `of` gives it from the arguments of `targets`; with `last_only`, s_T is the only state."""

    of: Callable[[Tensor, Tensor, Tensor, Target], Tensor]
    last_only: bool = False


CATALOGUE = {
    "td": ProbeTarget(_td),
    "td_lambda": ProbeTarget(
        lambda values, rewards, last, how: lambda_returns(values, rewards, last, how.gamma, how.td_lambda)
    ),
    "mc": ProbeTarget(lambda values, rewards, last, how: rewards),
    "final": ProbeTarget(lambda values, rewards, last, how: rewards, last_only=True),
}
"""Every training target: temporal differences, their lambda-return, r at every state, r at s_T alone."""


def loss(
    values: Float[Tensor, "probes states"],
    rewards: Float[Tensor, "probes states"],
    last: Bool[Tensor, " states"],
    target: Target,
) -> Float[Tensor, " probes"]:
    """Return each probe's loss: the mean squared error over the batch's states, or its states s_T (`last_only`).

    Args:
        values: V(h), in [0, 1].
        rewards: the reward r of the response that a state belongs to, at each of its states.
        last: true at the states s_T.
        target: which target and gradient.
    """
    squared = (targets(values, rewards, last, target) - values).square()
    return squared[:, last].mean(1) if CATALOGUE[target.name].last_only else squared.mean(1)
