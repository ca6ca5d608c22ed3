"""The interface of a generation engine: token ids in, token ids and log-probabilities out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn (paper, Table 6).

    `temperature` 0 takes the most likely token. `stop` is `default` (the model's end tokens) or `harness` (also the
    bare words that the evaluation harness behind the paper's settings stops at).
    """

    temperature: float
    top_p: float
    max_tokens: int
    stop: str = "default"


@dataclass(frozen=True)
class Request:
    """One prefix and the completions wanted from it.

    `keys` names one random stream per completion: a completion depends on its prefix, its key, the run's seed and the
    sampling settings, and on nothing else. `max_tokens` bounds this request's completions (a continuation may use what
    its response has left).
    """

    token_ids: tuple[int, ...]
    keys: tuple[str, ...]
    max_tokens: int


@dataclass(frozen=True)
class Completion:
    """New tokens (the stop token is not among them), their raw log-probabilities, and `stop` or `length`."""

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str


class Engine(Protocol):
    """What every engine offers."""

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, seed: int
    ) -> Iterator[tuple[int, list[Completion]]]:
        """Yield (index of the request, its completions in the order of its keys) as requests finish."""
        ...

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """One array per sequence: log-probability of each token given those before it; NaN for the first."""
        ...
