"""Hidden states of a model on its own responses: hooks and teacher-forced passes.

Layer l >= 1 is the residual stream after block l, before the final norm; layer 0 is what enters the first block
(method, section 1). Of a response of T tokens the T + 1 states s_0 (last prompt token) to s_T (last response token) are
kept.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl
import torch
from jaxtyping import Float, Int

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import decoder_blocks
from workflow_scripts.lib.storage.tables import check_once

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Keep = Callable[[int, Float[torch.Tensor, "rows width d"]], None]
"""Called with a layer and its states whenever the model has computed them."""


@contextmanager
def hooked(model: "PreTrainedModel", layers: Sequence[int], keep: Keep) -> Iterator[None]:
    """Call `keep(layer, states)` for each of `layers` in every forward pass until the block ends, however it ends.

    Raises:
        UserError: the model does not have one of the layers.
    """
    blocks = decoder_blocks(model)
    if unknown := [layer for layer in layers if not 0 <= layer <= len(blocks)]:
        raise UserError(
            f"configuration: activations.layers: {unknown[0]} is not a layer of this model; use 0 to {len(blocks)}"
        )

    def before(_: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(0, args[0] if args else kwargs["hidden_states"])

    def after(layer: int) -> Callable[..., None]:
        return lambda _module, _args, output: keep(layer, output[0] if isinstance(output, tuple) else output)

    handles = []
    try:
        for layer in layers:
            if layer == 0:
                handles.append(blocks[0].register_forward_pre_hook(before, with_kwargs=True))
            else:
                handles.append(blocks[layer - 1].register_forward_hook(after(layer)))
        yield
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Response:
    """A prompt and its response as token ids, with their names."""

    problem_id: str
    sample: int
    prompt_ids: Sequence[int]
    response_ids: Sequence[int]

    @property
    def length(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt_ids) + len(self.response_ids)


@dataclass(frozen=True)
class States:
    """States of R responses: `rows` [R] of (problem_id, sample, T), `offsets` [R + 1] into `layers`, [S, d] each."""

    rows: list[tuple[str, int, int]]
    offsets: Int[torch.Tensor, " responses+1"]
    layers: dict[int, Float[torch.Tensor, "states d"]]


def batches(responses: Sequence[Response], batch_tokens: int) -> Iterator[list[int]]:
    """Yield indices of responses for one pass of the model: longest first, at most `batch_tokens` with padding."""
    batch: list[int] = []
    for index in sorted(range(len(responses)), key=lambda i: -responses[i].length):
        if batch and (len(batch) + 1) * responses[batch[0]].length > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def padded_ids(responses: Sequence[Response]) -> Int[torch.Tensor, "rows width"]:
    """Return the token ids of prompts and responses, padded on the right with 0, where a causal model never looks."""
    rows = [torch.tensor([*one.prompt_ids, *one.response_ids], dtype=torch.long) for one in responses]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


class _LastLayerReachedError(Exception):
    """Ends a pass after the last layer that is needed."""


class _Collector:
    """Copies the needed rows of every layer into place, so that no whole layer is kept; ends the pass at the last."""

    def __init__(self, layers: Sequence[int], n_states: int, dtype: torch.dtype) -> None:
        self.layers = layers
        self.n_states, self.dtype = n_states, dtype
        self.states: dict[int, torch.Tensor] = {}
        self.source = self.target = torch.empty(0, dtype=torch.long)

    def keep(self, layer: int, states: Float[torch.Tensor, "rows width d"]) -> None:
        rows = states.reshape(-1, states.shape[-1]).index_select(0, self.source.to(states.device))
        stored = rows.to(self.dtype)
        if not bool(torch.isfinite(stored).all()):
            self._refuse(layer, rows)
        if layer not in self.states:
            self.states[layer] = torch.empty((self.n_states, states.shape[-1]), dtype=self.dtype)
        self.states[layer].index_copy_(0, self.target, stored.cpu())
        if layer == max(self.layers):
            raise _LastLayerReachedError

    def _refuse(self, layer: int, rows: torch.Tensor) -> None:
        if not bool(torch.isfinite(rows).all()):
            raise UserError(f"layer {layer}: the model's states are not finite; set models.<name>.dtype to float32")
        raise UserError(
            f"configuration: activations.dtype: layer {layer} has values up to {float(rows.abs().max()):.3g}, "
            f"too large for {str(self.dtype).removeprefix('torch.')}; set it to float32"
        )


@torch.inference_mode()
def dump(
    model: "PreTrainedModel",
    responses: Sequence[Response],
    layers: Sequence[int],
    dtype: torch.dtype,
    batch_tokens: int,
    report: Callable[[int], None] = lambda done: None,
) -> States:
    """Compute states s_0..s_T of every response at every layer, in one teacher-forced pass per batch.

    Batches are padded on the right, which a causal model never sees, so no mask is needed. Blocks after the last layer
    and the head are not run. `report` is called with the number of responses done.

    Raises:
        UserError: a layer the model does not have; states too large for `dtype`; a response without a prompt.
    """
    if empty := [r.problem_id for r in responses if not r.prompt_ids]:
        raise UserError(f"problem {empty[0]}: its prompt has no tokens; delete the rollouts shard and run again")
    counts = torch.tensor([len(response.response_ids) + 1 for response in responses], dtype=torch.long)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), counts.cumsum(0)])
    collector = _Collector(layers, int(offsets[-1]), dtype)
    device = next(model.parameters()).device
    with hooked(model, layers, collector.keep):
        for batch in batches(responses, batch_tokens) if layers else ():
            ids = padded_ids([responses[index] for index in batch])
            width = ids.shape[1]
            source, target = [], []
            for row, index in enumerate(batch):
                start = row * width + len(responses[index].prompt_ids) - 1
                source.append(torch.arange(start, start + int(counts[index])))
                target.append(torch.arange(int(offsets[index]), int(offsets[index + 1])))
            collector.source, collector.target = torch.cat(source), torch.cat(target)
            with suppress(_LastLayerReachedError):
                model.base_model(input_ids=ids.to(device), use_cache=False)
            report(len(batch))
    rows = [(response.problem_id, response.sample, len(response.response_ids)) for response in responses]
    return States(rows, offsets, collector.states)


def read_responses(rollouts: pl.DataFrame) -> list[Response]:
    """Return the responses of a rollouts table, in its order.

    Raises:
        UserError: a response occurs twice.
    """
    check_once(rollouts, ["problem_id", "sample"], "rollouts")
    columns = rollouts.select("problem_id", "sample", "prompt_ids", "response_ids")
    return [Response(*row) for row in columns.iter_rows()]
