"""Which neurons of the earlier layers are held at zero, all layers at once, and the passes of a model under that.

Method, section 10; paper, Appendix H.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.models.interventions import Intervention, intervened
from workflow_scripts.lib.models.proof import MaskCheck
from workflow_scripts.lib.models.states import Response, batches, dump
from workflow_scripts.lib.neurons.selections import matched_neurons, random_neurons, top
from workflow_scripts.lib.probes.pruning import selected_count

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONDITIONS = ("none", "value", "random", "random_matched")

Scores = Mapping[int, Float[np.ndarray, " d"]]
"""Layer -> [d]."""


@dataclass(frozen=True)
class Condition:
    """What is held: `held` is layer -> neurons, none of them in the unablated pass."""

    name: str
    draw: int = 0
    held: dict[int, list[int]] = field(default_factory=dict)

    def own_layers(self, neuron: int) -> int:
        """In how many layers the coordinate of `neuron` itself is held: it then loses what those layers wrote to it."""
        return sum(neuron in held for held in self.held.values())


def conditions(importance: Scores, rms: Scores, share: float, draws: int, seed: int) -> list[Condition]:
    """The unablated pass, the value neurons, and as many random ones: any, and matched in root-mean-square activation.

    `importance` and `rms` are those of the ablated layers. Without `rms`, or where more than half of the neurons are
    held, none can be matched and that condition is left out.
    """
    k = {layer: selected_count(share, len(scores)) for layer, scores in importance.items()}
    value = {layer: top(scores, k[layer]) for layer, scores in importance.items()}
    found = [Condition("none"), Condition("value", 0, value)]
    for draw in range(draws):
        held = {layer: random_neurons(len(importance[layer]), k[layer], seed, layer, draw) for layer in importance}
        found.append(Condition("random", draw, held))
    if set(rms) == set(importance) and all(2 * k[layer] <= len(importance[layer]) for layer in importance):
        for draw in range(draws):
            held = {layer: matched_neurons(value[layer], rms[layer], seed, layer, draw) for layer in importance}
            found.append(Condition("random_matched", draw, held))
    return found


def passes(
    model: "PreTrainedModel",
    responses: Sequence[Response],
    layer: int,
    condition: Condition,
    dtype: torch.dtype,
    batch_tokens: int,
    report: Callable[[int], None],
    proofs: dict[int, MaskCheck],
) -> Iterator[tuple[int, Float[Tensor, "T+1 d"]]]:
    """Place and states of every response at `layer`, with the condition's neurons at zero in all of its layers.

    One batch is in memory at a time. `proofs` is filled with what was done at each layer held, complete at the end.

    Raises:
        UserError: a layer or neuron that the model does not have; states too large for `dtype`.
    """
    with ExitStack() as stack:
        for place, neurons in condition.held.items():
            proofs[place] = stack.enter_context(intervened(model, Intervention(place, tuple(neurons))))
        for batch in batches(responses, batch_tokens):
            found = dump(model, [responses[i] for i in batch], [layer], dtype, batch_tokens, report)
            offsets = found.offsets.tolist()
            for row, index in enumerate(batch):
                yield index, found.layers[layer][offsets[row] : offsets[row + 1]]


def relative_gap(states: Float[Tensor, "T+1 d"], stored: Float[Tensor, "T+1 d"]) -> float:
    """Size of the difference of two sets of states over the size of the second."""
    size = float(stored.double().norm())
    return float((states.double() - stored.double()).norm()) / size if size else float(states.double().norm())


def tolerance(*dtypes: torch.dtype) -> float:
    """The largest relative gap that is rounding: sixteen times the coarser format's step."""
    return 16 * max(torch.finfo(dtype).eps for dtype in dtypes)
