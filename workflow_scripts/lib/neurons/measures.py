"""Measure neurons in one teacher-forced pass: magnitude, Wanda, root mean square, mean, first position."""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import decoder_blocks
from workflow_scripts.lib.models.states import Response, batches, hooked, padded_ids, read_responses
from workflow_scripts.lib.probes.data import split_of
from workflow_scripts.lib.storage.tables import read_parquet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = re.compile("attn|attention")
ROWS = 4096
"""Positions that are converted to float64 at a time."""


def output_weight(module: nn.Module) -> Float[Tensor, "outputs inputs"] | None:
    """Return the weight of a linear module, outputs first; None for other modules.

    GPT-2 stores its weights the other way round.
    """
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, Conv1D):
        return module.weight.T
    return module.weight if isinstance(module, nn.Linear) else None


def down_projection(block: nn.Module, layer: int, width: int) -> tuple[str, nn.Module]:
    """Return name and module of the MLP's output projection.

    It is the only linear module outside attention that comes back to the residual width.

    Raises:
        UserError: the block has several or none (mixture of experts, whose experts may be stacked in one parameter).
    """
    candidates = []
    for name, module in block.named_modules():
        weight = None if ATTENTION.search(name) else output_weight(module)
        if weight is not None and weight.shape[0] == width != weight.shape[1]:
            candidates.append((name, module))
    stacked = [name for name, p in block.named_parameters() if p.ndim > 2 and not ATTENTION.search(name)]
    if len(candidates) != 1 or stacked:
        raise UserError(
            f"layer {layer}: its block has not one MLP output projection but several or none (mixture of experts?); "
            "selections magnitude and wanda are not defined for it: remove them from interventions.selections"
        )
    return candidates[0]


class Sums:
    """Sums over the positions of one pass, float64: one tensor for each layer and name."""

    def __init__(self) -> None:
        self.of: dict[tuple[int, str], Tensor] = {}
        self.everywhere = self.response = self.first = torch.empty(0, dtype=torch.long)

    def begin(self, members: Sequence[Response], device: torch.device) -> None:
        """Set the positions of the next batch: rows padded on the right to the length of the longest."""
        width = max(one.length for one in members)
        starts = [row * width for row in range(len(members))]
        ends = [start + one.length for start, one in zip(starts, members, strict=True)]
        last_prompt = [start + len(one.prompt_ids) - 1 for start, one in zip(starts, members, strict=True)]
        self.everywhere, self.response = (
            torch.cat([torch.arange(a, b) for a, b in zip(begins, ends, strict=True)]).to(device)
            for begins in (starts, last_prompt)
        )
        self.first = torch.tensor(starts, device=device)

    def add(self, layer: int, name: str, values: Tensor, positions: Tensor, of: Callable[[Tensor], Tensor]) -> None:
        """Add `of` the chosen positions of values [..., n] to a sum [n]."""
        rows = values.reshape(-1, values.shape[-1])
        for block in positions.split(ROWS):
            part = of(rows.index_select(0, block).double()).sum(0)
            self.of[layer, name] = self.of[layer, name] + part if (layer, name) in self.of else part

    def keep_states(self, layer: int, states: Float[Tensor, "rows width d"]) -> None:
        """Add up the residual stream after a block."""
        self.add(layer, "squares", states, self.response, Tensor.square)
        self.add(layer, "total", states, self.everywhere, Tensor.clone)
        self.add(layer, "first", states, self.first, Tensor.abs)

    def keep_inputs(self, layer: int) -> Callable[..., None]:
        """Return a hook that sums inputs of the MLP's output projection; some families flatten rows and positions."""
        return lambda _module, args: self.add(layer, "inputs", args[0], self.everywhere, Tensor.square)


@torch.inference_mode()
def measure(
    model: "PreTrainedModel",
    responses: Sequence[Response],
    layers: Sequence[int],
    batch_tokens: int,
    projections: Mapping[int, nn.Module],
    report: Callable[[int], None] = lambda done: None,
) -> dict[str, Float[Tensor, " d"]]:
    """Return measures `layer_{l}.{name}`, float64 [d]; `magnitude` and `wanda` for the layers that have a projection.

    The head is not run.

    Raises:
        UserError: a layer the model does not have; a measure that is not finite; no response, or one without a prompt.
    """
    check_responses(responses)
    sums, device = Sums(), next(model.parameters()).device
    with ExitStack() as stack:
        stack.enter_context(hooked(model, layers, sums.keep_states))
        for layer, module in projections.items():
            stack.callback(module.register_forward_pre_hook(sums.keep_inputs(layer)).remove)
        for batch in batches(responses, batch_tokens):
            members = [responses[i] for i in batch]
            sums.begin(members, device)
            model.base_model(input_ids=padded_ids(members).to(device), use_cache=False)
            report(len(batch))
    measures = {
        f"layer_{layer}.{name}": mean for layer in layers for name, mean in means(sums, layer, responses).items()
    }
    for layer, module in projections.items():
        weight = output_weight(module).abs().double()  # type: ignore[union-attr]
        measures[f"layer_{layer}.magnitude"] = weight.sum(1)
        measures[f"layer_{layer}.wanda"] = weight @ sums.of[layer, "inputs"].sqrt()
    return {name: finite(name, tensor) for name, tensor in measures.items()}


def means(sums: Sums, layer: int, responses: Sequence[Response]) -> dict[str, Float[Tensor, " d"]]:
    """Divide the sums of a layer's states by the numbers of states, positions and responses."""
    n_states = sum(len(one.response_ids) + 1 for one in responses)
    return {
        "rms": (sums.of[layer, "squares"] / n_states).sqrt(),
        "mean": sums.of[layer, "total"] / sum(one.length for one in responses),
        "first": sums.of[layer, "first"] / len(responses),
    }


def check_responses(responses: Sequence[Response]) -> None:
    """Refuse an empty training part, and a response without a prompt."""
    if not responses:
        raise UserError("the training part has no response; raise split.train_ratio")
    if empty := [one.problem_id for one in responses if not one.prompt_ids]:
        raise UserError(f"problem {empty[0]}: its prompt has no tokens; delete the rollouts shard and run again")


def finite(name: str, tensor: Tensor) -> Tensor:
    """Return the tensor on the CPU; refuse one that is not finite."""
    if not bool(tensor.isfinite().all()):
        raise UserError(f"{name}: the model's states are not finite; set models.<name>.dtype to float32")
    return tensor.cpu()


def training_responses(problems: Sequence[Path], rollouts: Sequence[Path]) -> list[Response]:
    """Return the responses of the training part.

    Raises:
        UserError: a response to a problem that is not given.
    """
    split, responses = split_of(problems), read_responses(read_parquet(rollouts))
    if unknown := [one.problem_id for one in responses if one.problem_id not in split]:
        lacking = f"lacks problem {unknown[0]} of the rollouts; delete the rollouts and run again"
        raise UserError(f"{problems[0].parent}: {lacking}")
    return [one for one in responses if split[one.problem_id] == "train"]


def find_projections(model: "PreTrainedModel", layers: Sequence[int]) -> dict[int, tuple[str, nn.Module]]:
    """Return layer -> name and module of its block's MLP output projection.

    Raises:
        UserError: a layer has no block, or its block no single such projection.
    """
    blocks, width = decoder_blocks(model), model.config.get_text_config(decoder=True).hidden_size
    if unknown := [layer for layer in layers if not 1 <= layer <= len(blocks)]:
        raise UserError(f"configuration: interventions.layers: {unknown[0]} has no block; use 1 to {len(blocks)}")
    return {layer: down_projection(blocks[layer - 1], layer, width) for layer in layers}
