"""Ablate neurons of the earlier layers (set them to zero in all layers at once) and run the model with that.

Method, section 10; paper, Appendix H.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from workflow_scripts.lib.models.interventions import Intervention, intervened
from workflow_scripts.lib.models.proof import MaskCheck
from workflow_scripts.lib.models.states import Response, batches, dump
from workflow_scripts.lib.neurons.selections import LayerScores, matched_neurons, random_neurons, top
from workflow_scripts.lib.probes.pruning import selected_count

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONDITIONS = ("none", "value", "random", "random_matched")


@dataclass(frozen=True)
class Ablation:
    """One condition: `ablated` is layer -> neurons set to zero; it is empty in the unablated pass."""

    name: str
    draw: int = 0
    ablated: dict[int, list[int]] = field(default_factory=dict)

    def own_layers(self, neuron: int) -> int:
        """Count the layers in which the coordinate of `neuron` is ablated: it loses what those layers wrote to it."""
        return sum(neuron in neurons for neurons in self.ablated.values())


def conditions(importance: LayerScores, rms: LayerScores, share: float, draws: int, seed: int) -> list[Ablation]:
    """List the unablated pass, the value neurons, and equally many random ones: any, and matched in RMS activation.

    `importance` and `rms` are those of the ablated layers. Without `rms`, or where more than half of the neurons are
    ablated, none can be matched and that condition is left out.
    """
    k = {layer: selected_count(share, len(scores)) for layer, scores in importance.items()}
    value = {layer: top(scores, k[layer]) for layer, scores in importance.items()}
    every = [Ablation("none"), Ablation("value", 0, value)]
    for draw in range(draws):
        ablated = {layer: random_neurons(len(importance[layer]), k[layer], seed, layer, draw) for layer in importance}
        every.append(Ablation("random", draw, ablated))
    if set(rms) == set(importance) and all(2 * k[layer] <= len(importance[layer]) for layer in importance):
        for draw in range(draws):
            ablated = {layer: matched_neurons(value[layer], rms[layer], seed, layer, draw) for layer in importance}
            every.append(Ablation("random_matched", draw, ablated))
    return every


def passes(
    model: "PreTrainedModel",
    responses: Sequence[Response],
    layer: int,
    condition: Ablation,
    dtype: torch.dtype,
    batch_tokens: int,
    report: Callable[[int], None],
    checks: dict[int, MaskCheck],
) -> Iterator[tuple[int, Float[Tensor, "T+1 d"]]]:
    """Yield index and states of every response at `layer`, with the condition's neurons at zero in all of its layers.

    One batch is in memory at a time. `checks` is filled with the mask check of each ablated layer, complete at the end.

    Raises:
        UserError: a layer or neuron that the model does not have; states too large for `dtype`.
    """
    with ExitStack() as stack:
        for ablated_layer, neurons in condition.ablated.items():
            intervention = Intervention(ablated_layer, tuple(neurons))
            checks[ablated_layer] = stack.enter_context(intervened(model, intervention))
        for batch in batches(responses, batch_tokens):
            states = dump(model, [responses[i] for i in batch], [layer], dtype, batch_tokens, report)
            offsets = states.offsets.tolist()
            for row, index in enumerate(batch):
                yield index, states.layers[layer][offsets[row] : offsets[row + 1]]


def relative_gap(states: Float[Tensor, "T+1 d"], stored: Float[Tensor, "T+1 d"]) -> float:
    """Return the norm of the difference of two sets of states over the norm of the second."""
    size = float(stored.double().norm())
    return float((states.double() - stored.double()).norm()) / size if size else float(states.double().norm())


def tolerance(*dtypes: torch.dtype) -> float:
    """Return the largest relative gap that is rounding: sixteen times the step of the coarser format."""
    return 16 * max(torch.finfo(dtype).eps for dtype in dtypes)
