"""Code that runs inside vLLM: masks that are part of the model, and a sampler with one random stream per request.

vLLM finds these classes by their names (`load_format`, `worker_extension_cls`, `logits_processors`), so that nothing is
pickled. Masks enter the model when it is loaded, before it is compiled or captured. So they are part of every graph of
the model, and only the numbers in their buffers change later.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from vllm import SamplingParams
from vllm.config import ModelConfig, VllmConfig
from vllm.config.load import LoadConfig
from vllm.model_executor.model_loader import register_model_loader
from vllm.model_executor.model_loader.default_loader import DefaultModelLoader
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from workflow_scripts.lib.engines.interface import Sampling
from workflow_scripts.lib.engines.paragraph_stop import END, START, ParagraphStop
from workflow_scripts.lib.engines.sampling import Stream, sample
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig as Entry
from workflow_scripts.lib.models.tokenizer import load_tokenizer


class MaskedBlock(nn.Module):
    """A block with a mask for chosen neurons (method, section 6); none is chosen until `set_mask`.

    vLLM's blocks return the residual stream, or two tensors that sum to it. For a chosen neuron, the sum becomes
    `stream * factor + shift`; for others, both tensors stay as they are, bit for bit.
    """

    def __init__(self, block: nn.Module, layer: int, like: torch.Tensor) -> None:
        """Add the buffers; `like` [d] has the dtype and the device of a state."""
        super().__init__()
        self.block, self.layer = block, layer
        self.register_buffer("chosen", torch.zeros_like(like, dtype=torch.bool))
        self.register_buffer("factor", torch.zeros_like(like))
        self.register_buffer("shift", torch.zeros_like(like))
        self.register_buffer("positions", torch.zeros((), dtype=torch.int64, device=like.device))
        self.register_buffer("miss", torch.zeros((), dtype=torch.float32, device=like.device))

    def __getattr__(self, name: str) -> Any:
        """Pass on attributes that the model reads from a block to the block inside."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("block"), name)

    def set_mask(self, neurons: list[int], factor: float, shift: list[float]) -> None:
        """Mask these neurons from the next pass on, and count from zero. The buffers keep their addresses."""
        for name in ("chosen", "factor", "shift", "positions", "miss"):
            getattr(self, name).zero_()
        if neurons:
            self.chosen[neurons] = True
            self.factor[neurons] = factor
            self.shift[neurons] = torch.tensor(shift, dtype=self.shift.dtype, device=self.shift.device)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return the block's output with the mask applied; count positions and measure the largest miss."""
        output = self.block(*args, **kwargs)
        parts = output if isinstance(output, tuple) else (output,)
        if len(parts) > 2 or not all(isinstance(part, torch.Tensor) for part in parts):
            raise TypeError(f"{type(self.block).__name__}: its output is not one tensor, nor two that add up")
        stream = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        intended = stream * self.factor + self.shift
        first = torch.where(self.chosen, intended, parts[0])
        rest = tuple(torch.where(self.chosen, 0, part) for part in parts[1:])
        masked = first if not rest else first + rest[0]
        distance = torch.where(self.chosen, masked - intended, 0).abs().amax().float()
        self.miss.copy_(torch.maximum(self.miss, distance))
        self.positions.add_(first.shape[0])
        return (first, *rest) if isinstance(output, tuple) else first


@register_model_loader("masked")
class MaskedLoader(DefaultModelLoader):
    """Loads as vLLM does, then wraps the blocks of the layers listed under `masked_layers` in `additional_config`.

    They are listed there because vLLM's cache of compiled graphs is named by it: a graph without a mask, or with one at
    another layer, must not be used instead of this one.
    """

    def __init__(self, load_config: LoadConfig) -> None:
        load_config.load_format = "safetensors"
        super().__init__(load_config)

    def load_model(self, vllm_config: VllmConfig, model_config: ModelConfig, prefix: str = "") -> nn.Module:
        """Load the model with its masks."""
        model = super().load_model(vllm_config, model_config, prefix)
        blocks = block_list(model, model_config.get_total_num_hidden_layers())
        like = torch.empty(
            model_config.get_hidden_size(), dtype=model_config.dtype, device=next(model.parameters()).device
        )
        for layer in vllm_config.additional_config["masked_layers"]:
            blocks[layer - 1] = MaskedBlock(blocks[layer - 1], layer, like)
        return model


def block_list(model: nn.Module, n_layers: int) -> nn.ModuleList:
    """Return the list of the language model's blocks: the one of length n_layers nearest to the root.

    Raises:
        UserError: the model has no such list.
    """
    root = model.get_language_model() if hasattr(model, "get_language_model") else model  # type: ignore[operator]
    lists = [(name, m) for name, m in root.named_modules() if isinstance(m, nn.ModuleList) and len(m) == n_layers]
    if not lists:
        raise UserError(f"{type(model).__name__}: no list of {n_layers} blocks found; vLLM cannot mask its neurons")
    return min(lists, key=lambda item: item[0].count("."))[1]


class Masks:
    """Methods added to vLLM's workers, called by name through `LLM.collective_rpc`."""

    def masked_block(self, layer: int) -> MaskedBlock:
        """Return the masked block of a layer."""
        model = self.model_runner.get_model()  # type: ignore[attr-defined]
        (block,) = [m for m in model.modules() if isinstance(m, MaskedBlock) and m.layer == layer]
        return block

    def mask_neurons(self, layer: int, neurons: list[int], factor: float, shift: list[float]) -> None:
        """Mask these neurons of a layer; with none, remove the mask."""
        self.masked_block(layer).set_mask(neurons, factor, shift)

    def masked_so_far(self, layer: int) -> tuple[int, float]:
        """Return how many positions passed the mask since `mask_neurons`, and the largest miss."""
        block = self.masked_block(layer)
        return int(block.positions), float(block.miss)


@dataclass
class Row:
    """A request: its random stream, its tokens so far, and the end token if it ends with its paragraph."""

    stream: Stream
    output: list[int]
    end: int | None
    state: int = START
    followed: int = 0

    def complete(self, paragraphs: ParagraphStop) -> bool:
        """Return whether the tokens so far are a complete paragraph; read the new ones."""
        self.state = paragraphs.after(self.state, self.output[self.followed :])
        self.followed = len(self.output)
        return self.state == END


class NamedStreams(LogitsProcessor):
    """Draws every token from the random stream of its own request, as the transformers engine does, and forces it.

    vLLM then takes the most likely token, which is the one drawn. Its own sampling would depend on the rest of the
    batch (and crashes on a CPU if a request has a seed). The stream's name and the settings come in `extra_args`. A
    request that ends with its paragraph gets the end token once the paragraph is complete.
    """

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        self.rows: dict[int, Row] = {}
        self.sampling = Sampling(0.0, 1.0, 1)
        self.config = vllm_config.model_config
        self.paragraphs: ParagraphStop | None = None

    def is_argmax_invariant(self) -> bool:
        """Return False, because it decides which token is the most likely."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow requests as they enter, leave and move within the batch."""
        process_dict_updates(self.rows, batch_update, self._row)

    def _row(self, params: SamplingParams, prompt: list[int] | None, output: list[int]) -> Row | None:
        named = params.extra_args
        if not named:
            return None
        self.sampling = Sampling(named["temperature"], named["top_p"], 1)
        return Row(Stream(named["seed"], named["key"]), output, named.get("end"))

    def _complete(self, rows: int) -> list[tuple[int, int]]:
        """Return (row, end token) of requests with a complete paragraph. The tokenizer is loaded when first needed."""
        watched = [(place, self.rows[place], self.rows[place].end) for place in range(rows)]
        if self.paragraphs is None and any(end is not None for _, _, end in watched):
            config = self.config
            entry = Entry("", config.model, config.revision, trust_remote_code=config.trust_remote_code)
            self.paragraphs = ParagraphStop(load_tokenizer(entry), config.get_vocab_size())
        paragraphs = self.paragraphs
        if paragraphs is None:
            return []
        return [(place, end) for place, row, end in watched if end is not None and row.complete(paragraphs)]

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Leave one token per row. All rows share one sampling setting; a row's step is the length of its output."""
        if not self.rows:
            return logits
        drawn = [row.stream.at(len(row.output)) for row in (self.rows[place] for place in range(len(logits)))]
        uniforms = torch.tensor(drawn, dtype=torch.float64).to(logits.device, non_blocking=True)
        tokens, _ = sample(logits, uniforms, self.sampling)
        for place, end in self._complete(len(logits)):
            tokens[place] = end
        return logits.fill_(-torch.inf).scatter_(1, tokens[:, None], 0.0)
