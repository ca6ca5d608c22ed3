"""Drawing tokens: inverse-CDF sampling over the nucleus, one uniform number per (seed, key, step).

So a draw is a pure function of the row's logits and of its stream; batch, order and siblings have no effect.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from workflow_scripts.lib.engines.interface import Sampling
from workflow_scripts.lib.seeds import generator

SHORTLIST = 64
BLOCK = 64


class Stream:
    """The uniform numbers of one row, by step; steps passed to `at` must not decrease."""

    def __init__(self, seed: int, key: str) -> None:
        self.generator = generator(seed, key)
        self.end = 0
        self.block: np.ndarray = np.empty(0)

    def at(self, step: int) -> float:
        """Return the number of a step, the same as in `Uniforms`."""
        while step >= self.end:
            self.block = self.generator.random(BLOCK)
            self.end += BLOCK
        return float(self.block[step % BLOCK])


class Uniforms:
    """The uniform numbers of several rows, drawn `BLOCK` steps at a time; each row has its own named stream."""

    def __init__(self, seed: int, keys: Sequence[str], device: torch.device) -> None:
        self.streams = [generator(seed, key) for key in keys]
        self.device = device
        self.step = 0
        self.block = torch.empty(0)

    def next(self) -> Float[torch.Tensor, " rows"]:
        """Return one number in [0, 1) per row, for the next step."""
        column = self.step % BLOCK
        if column == 0:
            drawn = np.stack([stream.random(BLOCK) for stream in self.streams], axis=1)
            self.block = torch.from_numpy(drawn).to(self.device)
        self.step += 1
        return self.block[column]

    def select(self, rows: list[int]) -> None:
        """Keep the rows at these indices."""
        self.streams = [self.streams[row] for row in rows]
        self.block = self.block[:, rows]


def _pick(
    probabilities: Float[torch.Tensor, "rows k"], uniforms: Float[torch.Tensor, " rows"], top_p: float
) -> Int[torch.Tensor, "rows 1"]:
    """Return each row's index into its sorted list by its number; `probabilities` are the largest ones, descending."""
    cumulative = probabilities.cumsum(-1)
    last = (cumulative < top_p).sum(-1, keepdim=True).clamp_max(probabilities.shape[-1] - 1)
    mass = cumulative.gather(-1, last) if top_p < 1 else 1.0
    target = uniforms[:, None].to(cumulative.dtype) * mass
    return torch.minimum((cumulative <= target).sum(-1, keepdim=True), last)


def nucleus_sample(
    logits: Float[torch.Tensor, "rows vocabulary"], uniforms: Float[torch.Tensor, " rows"], top_p: float
) -> Int[torch.Tensor, " rows"]:
    """Sample from the smallest set of most likely tokens with a mass of at least `top_p`, renormalised.

    A shortlist of the most likely tokens is sorted first; only rows that it cannot decide (a longer nucleus; at
    `top_p` 1, a number beyond its mass) have their whole vocabulary sorted. Both ways give the same token.
    """
    probabilities = logits.softmax(-1)
    if logits.shape[-1] <= 2 * SHORTLIST:
        ranked, order = probabilities.sort(dim=-1, descending=True, stable=True)
        return order.gather(-1, _pick(ranked, uniforms, top_p)).squeeze(-1)
    ranked, order = probabilities.topk(SHORTLIST, -1)
    tokens = order.gather(-1, _pick(ranked, uniforms, top_p)).squeeze(-1)
    # because of the margin, rows that only rounding decides are sorted too
    needed = top_p if top_p < 1 else uniforms
    longer = (ranked.sum(-1) < needed + 1e-5).nonzero().squeeze(-1)
    if len(longer):
        ranked, order = probabilities[longer].sort(-1, descending=True)
        tokens[longer] = order.gather(-1, _pick(ranked, uniforms[longer], top_p)).squeeze(-1)
    return tokens


def sample(
    logits: Float[torch.Tensor, "rows vocabulary"], uniforms: Float[torch.Tensor, " rows"], sampling: Sampling
) -> tuple[Int[torch.Tensor, " rows"], Float[torch.Tensor, " rows"]]:
    """Sample one token per row, with its log-probability before temperature; 0 takes the most likely token."""
    logits = logits.float()
    if sampling.temperature == 0:
        tokens = logits.argmax(-1)
    else:
        scaled = logits if sampling.temperature == 1 else logits / sampling.temperature
        tokens = nucleus_sample(scaled, uniforms, sampling.top_p)
    chosen = logits.gather(-1, tokens[:, None]).squeeze(-1)
    return tokens, chosen - logits.logsumexp(-1)
