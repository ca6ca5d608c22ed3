"""A key/value cache that is written in place, and attention that does not copy it.

transformers' dynamic cache is copied as a whole at every step, and its masked attention repeats keys and values for
every query head. On a small model both cost more than the model itself.
"""

from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROUPED = "sdpa_grouped"
STANDARD_LAYERS = {"full_attention", "sliding_attention", "chunked_attention"}
SPARE_COLUMNS = 128


class BufferedLayer(DynamicLayer):
    """Keys and values of one layer in buffers [rows, heads, capacity, head size] of which `length` columns are in use.

    Windows of sliding layers are left to the attention mask.
    """

    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Take type and device from the first states; allocate nothing yet."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns and return views of all columns in use."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[-2]
        if end > self.keys.shape[-2]:
            capacity = end + max(SPARE_COLUMNS, end // 2)
            self.keys, self.values = (self._resized(buffer, capacity) for buffer in (self.keys, self.values))
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def _resized(self, buffer: torch.Tensor, capacity: int, rows: torch.Tensor | None = None) -> torch.Tensor:
        used = buffer[:, :, : self.length]
        used = used if rows is None else used[rows]
        resized = buffer.new_empty((used.shape[0], used.shape[1], capacity, used.shape[3]))
        resized[:, :, : self.length] = used
        return resized

    def get_seq_length(self) -> int:
        """Return the number of columns in use."""
        return self.length

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep (or repeat) the rows at `indices`."""
        if self.length:
            capacity = self.keys.shape[-2]
            self.keys, self.values = (self._resized(b, capacity, indices) for b in (self.keys, self.values))


def new_cache(model: PreTrainedModel) -> Cache:
    """Return an empty cache for `model`; models with recurrent states keep the kind that transformers gives them."""
    config = model.config.get_text_config(decoder=True)
    if set(getattr(config, "layer_types", None) or ()) <= STANDARD_LAYERS:
        return Cache(layer_class_to_replicate=BufferedLayer)
    return DynamicCache(config=config)


def select_rows(cache: Cache, rows: torch.Tensor) -> None:
    """Keep (or repeat) the rows at these indices, in layers with keys and values and those with recurrent states."""
    for layer in cache.layers:
        select: Any = getattr(layer, "batch_select_indices", None) or layer.reorder_cache
        select(rows)


def _grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    special = any(kwargs.get(name) is not None for name in ("position_bias", "cache"))
    if (
        special
        or attention_mask is None
        or query.device.type != "cpu"
        or getattr(module, "num_key_value_groups", 1) == 1
    ):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    output = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, scale=kwargs.get("scaling"), enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Let query heads share their keys and values without copies, if the model uses scaled-dot-product attention."""
    if model.config._attn_implementation == "sdpa":
        AttentionInterface.register(GROUPED, _grouped_attention)
        AttentionMaskInterface.register(GROUPED, sdpa_mask)
        model.set_attn_implementation(GROUPED)
