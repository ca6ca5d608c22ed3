"""Interventions on neurons of the residual stream while a model runs: ablate, scale, or set to the mean.

The block's own output is changed, at every position of prompt and response, so that all later layers and the cache see
the change (method, section 6). Every intervention counts its positions, so that a hook that never ran cannot pass for
an intervention without effect.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import decoder_blocks
from workflow_scripts.lib.models.proof import MaskCheck

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Intervention:
    """An intervention on neurons after block `layer` (1 to n_layers).

    Mode `zero` ablates them (sets them to zero), `mean` sets them to `means` (one value per neuron), `scale` multiplies
    them by `factor`.
    """

    layer: int
    neurons: tuple[int, ...]
    mode: Literal["zero", "mean", "scale"] = "zero"
    factor: float = 0.0
    means: tuple[float, ...] = ()


def check_intervention(what: Intervention, n_layers: int, width: int) -> None:
    """Raise unless a model with `n_layers` layers of `width` neurons allows the intervention.

    Raises:
        UserError: the model does not have the layer or a neuron, or there is not one mean for each neuron.
    """
    if not 1 <= what.layer <= n_layers:
        raise UserError(f"layer {what.layer} cannot be changed; the model's layers are 1 to {n_layers}")
    if unknown := [neuron for neuron in what.neurons if not 0 <= neuron < width]:
        raise UserError(f"neuron {unknown[0]} is not one of layer {what.layer}; use 0 to {width - 1}")
    if what.mode == "mean" and len(what.means) != len(what.neurons):
        raise UserError(f"{len(what.means)} means for {len(what.neurons)} neurons; give one for each")


@contextmanager
def intervened(model: "PreTrainedModel", what: Intervention) -> Iterator[MaskCheck]:
    """Apply the intervention in every forward pass until the block ends, however it ends.

    Raises:
        UserError: the model does not have the layer or a neuron, or there is not one mean for each neuron.
    """
    blocks = decoder_blocks(model)
    check_intervention(what, len(blocks), model.config.get_text_config(decoder=True).hidden_size)
    check, neurons = MaskCheck(), torch.tensor(what.neurons, dtype=torch.long)

    def before(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered = args[0] if args else kwargs["hidden_states"]
        check.processed += entered.shape[0] * entered.shape[1]

    def after(_module: torch.nn.Module, _args: Any, output: Any) -> Any:
        states: Float[torch.Tensor, "rows columns d"] = output[0] if isinstance(output, tuple) else output
        places = neurons.to(states.device)
        intended = _intended(states.index_select(-1, places), what)
        changed = states.index_copy(-1, places, intended)
        check.changed += changed.shape[0] * changed.shape[1]
        if len(what.neurons):
            miss = (changed.index_select(-1, places) - intended).abs().max()
            check.largest_miss = max(check.largest_miss, float(miss))
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    block = blocks[what.layer - 1]
    handles = [block.register_forward_pre_hook(before, with_kwargs=True), block.register_forward_hook(after)]
    try:
        yield check
    finally:
        for handle in handles:
            handle.remove()


def _intended(
    states: Float[torch.Tensor, "rows columns k"], what: Intervention
) -> Float[torch.Tensor, "rows columns k"]:
    if what.mode == "mean":
        return torch.tensor(what.means, dtype=states.dtype, device=states.device).expand_as(states).contiguous()
    return states * what.factor if what.mode == "scale" else torch.zeros_like(states)
