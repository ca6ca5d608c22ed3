"""Neurons of the residual stream held at zero, at their mean or at a share of themselves while a model runs.

The block's own output is changed, at every position of prompt and response, so that all later layers and the cache see
it (method, section 6). Every run counts what it did: a hook that never ran must not pass for an intervention without
effect.
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
    """What happens to which neurons after block `layer` (1 to n_layers).

    `zero` holds them at 0, `mean` at `means` (one value a neuron), `scale` multiplies them by `factor`.
    """

    layer: int
    neurons: tuple[int, ...]
    mode: Literal["zero", "mean", "scale"] = "zero"
    factor: float = 0.0
    means: tuple[float, ...] = ()


def check_intervention(what: Intervention, n_layers: int, width: int) -> None:
    """Refuse what a model of that many layers and neurons cannot do.

    Raises:
        UserError: the model does not have the layer or a neuron, or there is not one mean for each neuron.
    """
    if not 1 <= what.layer <= n_layers:
        raise UserError(f"layer {what.layer} cannot be changed; the model's layers are 1 to {n_layers}")
    if wrong := [neuron for neuron in what.neurons if not 0 <= neuron < width]:
        raise UserError(f"neuron {wrong[0]} is not one of layer {what.layer}; use 0 to {width - 1}")
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
    proof, neurons = MaskCheck(), torch.tensor(what.neurons, dtype=torch.long)

    def before(_module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        entered = args[0] if args else kwargs["hidden_states"]
        proof.processed += entered.shape[0] * entered.shape[1]

    def after(_module: torch.nn.Module, _args: Any, output: Any) -> Any:
        states: Float[torch.Tensor, "rows columns d"] = output[0] if isinstance(output, tuple) else output
        places = neurons.to(states.device)
        wanted = _wanted(states.index_select(-1, places), what)
        changed = states.index_copy(-1, places, wanted)
        proof.changed += changed.shape[0] * changed.shape[1]
        if len(what.neurons):
            miss = (changed.index_select(-1, places) - wanted).abs().max()
            proof.largest_miss = max(proof.largest_miss, float(miss))
        return (changed, *output[1:]) if isinstance(output, tuple) else changed

    block = blocks[what.layer - 1]
    handles = [block.register_forward_pre_hook(before, with_kwargs=True), block.register_forward_hook(after)]
    try:
        yield proof
    finally:
        for handle in handles:
            handle.remove()


def _wanted(states: Float[torch.Tensor, "rows columns k"], what: Intervention) -> Float[torch.Tensor, "rows columns k"]:
    if what.mode == "mean":
        return torch.tensor(what.means, dtype=states.dtype, device=states.device).expand_as(states).contiguous()
    return states * what.factor if what.mode == "scale" else torch.zeros_like(states)
