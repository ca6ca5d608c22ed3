"""The interface of a generation engine: token ids in, token ids and log-probabilities out."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from workflow_scripts.lib.errors import UserError

if TYPE_CHECKING:
    from workflow_scripts.lib.models.interventions import Intervention
    from workflow_scripts.lib.models.proof import MaskCheck


@dataclass(frozen=True)
class EngineOptions:
    """How an engine runs; no option changes results beyond rounding.

    `gpus`: 1 is a GPU if there is one, 0 the CPU; vLLM splits the model among several. The options after `gpus` are for
    vLLM (section `vllm` of the configuration). `eager` None: compiled on a GPU only.
    """

    batch_size: int = 64
    gpus: int = 1
    gpu_memory_utilization: float = 0.75
    cpu_cache_gb: float = 1.0
    eager: bool | None = None
    prefix_caching: bool = True


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn (paper, Table 6).

    `temperature` 0 takes the most likely token. `stop` is `default` (the model's end tokens) or `harness` (also the
    bare words at which the evaluation harness behind the paper's settings stops). `logprobs`: whether the caller reads
    the tokens' log-probabilities; otherwise an engine may leave them out. `paragraph`: a completion also ends right
    after its first paragraph (`engines.paragraph_stop`).
    """

    temperature: float
    top_p: float
    max_tokens: int
    stop: str = "default"
    logprobs: bool = True
    paragraph: bool = False


@dataclass(frozen=True)
class Request:
    """One prefix and the completions requested from it.

    `keys` names one random stream per completion: a completion depends on its prefix, its key, the run's seed and the
    sampling settings, and on nothing else. `max_tokens` limits this request's completions (a continuation may use as
    many tokens as its response has left).
    """

    token_ids: tuple[int, ...]
    keys: tuple[str, ...]
    max_tokens: int


@dataclass(frozen=True)
class Completion:
    """New tokens (the stop token is not among them), their raw log-probabilities, and why they end.

    `stop`, `length`, or `paragraph` if a paragraph was requested and is complete, at any length.
    """

    token_ids: list[int]
    logprobs: list[float]
    finish_reason: str


def room_left(index: int, request: Request, context: int | None) -> int:
    """Return how many tokens a request may get: its own limit, or what the model's context has left.

    Raises:
        UserError: the prefix is empty or longer than the context.
    """
    length = len(request.token_ids)
    if length == 0 or (context is not None and length > context):
        raise UserError(f"request {index}: a prefix of {length} tokens; give 1 to {context or 'any number of'} tokens")
    return request.max_tokens if context is None else min(request.max_tokens, context - length)


class Engine(Protocol):
    """The methods of every engine."""

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, seed: int
    ) -> Iterator[tuple[int, list[Completion]]]:
        """Yield (index of the request, its completions in the order of its keys) as requests finish."""
        ...

    def score(self, sequences: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Return one array per sequence: log-probability of each token given those before it; NaN for the first."""
        ...

    def intervened(self, what: "Intervention") -> "AbstractContextManager[MaskCheck]":
        """Mask neurons in every pass until the block ends, however it ends; then the mask check is complete."""
        ...
