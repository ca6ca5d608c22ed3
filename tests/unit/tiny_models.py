"""Tiny random language models of several families and a word tokenizer, built from nothing, for the tests."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3_5Config,
    Qwen3_5ForCausalLM,
    Qwen3_5ForConditionalGeneration,
    Qwen3_5TextConfig,
    SiglipVisionConfig,
)

VOCABULARY = 200
WORDS = ["<|end|>", "<|user|>", "<|bot|>", "user", "assistant", "_end", "What", "is", "the", "sum", "?", "\n", "."]
TEMPLATE = (
    "{% for m in messages %}<|user|>{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<|bot|>{% endif %}"
)
SHAPE: dict[str, Any] = {"vocab_size": VOCABULARY, "eos_token_id": 0, "bos_token_id": None, "pad_token_id": None}
LAYERS: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


GEMMA: dict[str, Any] = {**SHAPE, **LAYERS, "pad_token_id": 1, "head_dim": 8, "sliding_window": 8}
GEMMA["layer_types"] = ["sliding_attention", "full_attention", "sliding_attention"]
HYBRID: dict[str, Any] = {**SHAPE, **LAYERS, "head_dim": 8, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
HYBRID |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
HYBRID["layer_types"] = ["linear_attention", "full_attention", "linear_attention"]
PAPER_FAMILIES = ["qwen2", "llama", "phi3", "gemma3", "gemma3-vision", "qwen3.5"]
"""The families of the paper's models; Gemma 3 as a text model alone and as published, beside an image encoder."""


def tiny_model(family: str, seed: int = 0, head: int = 8) -> Any:
    """A random model of three layers: one of `PAPER_FAMILIES`, `olmo2`, `mistral` with a window of 8, or `gpt2`.

    Its weights are large enough that tokens depend on what came before. `gemma3` has windows of 8 in two of its layers,
    `qwen3.5` linear attention in two of its layers. It has four attention heads of width `head`, and is as wide.
    """
    torch.manual_seed(seed)
    layers, heads = LAYERS | {"hidden_size": 4 * head}, {"hidden_size": 4 * head, "head_dim": head}
    model: PreTrainedModel
    if family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, **layers))
    elif family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, **layers, tie_word_embeddings=True))
    elif family == "olmo2":
        model = Olmo2ForCausalLM(Olmo2Config(**SHAPE, **layers))
    elif family == "mistral":
        model = MistralForCausalLM(MistralConfig(**SHAPE, **layers, sliding_window=8))
    elif family == "phi3":
        model = Phi3ForCausalLM(Phi3Config(**SHAPE | {"pad_token_id": 1}, **layers))
    elif family == "gemma3":
        model = Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA | heads))
    elif family == "gemma3-vision":
        sight = SiglipVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=8, patch_size=4
        )
        ids: dict[str, Any] = {
            "image_token_index": 190,
            "boi_token_index": 191,
            "eoi_token_index": 192,
            "mm_tokens_per_image": 4,
        }
        model = Gemma3ForConditionalGeneration(
            Gemma3Config(text_config=Gemma3TextConfig(**GEMMA | heads), vision_config=sight, **ids)
        )
    elif family == "qwen3.5":
        model = Qwen3_5ForCausalLM(Qwen3_5TextConfig(**HYBRID | heads))
    elif family == "qwen3.5-vision":
        eye: dict[str, Any] = {"depth": 2, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "patch_size": 4}
        eye |= {"out_hidden_size": 32, "spatial_merge_size": 1}
        names: dict[str, Any] = {"image_token_id": 190, "video_token_id": 191}
        names |= {"vision_start_token_id": 192, "vision_end_token_id": 193}
        model = Qwen3_5ForConditionalGeneration(Qwen3_5Config(text_config=HYBRID, vision_config=eye, **names))
    else:
        model = GPT2LMHeadModel(GPT2Config(**SHAPE, n_embd=4 * head, n_layer=3, n_head=4, n_positions=128))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(0, 0.25)
    return model.eval().requires_grad_(False)


def tiny_tokenizer(template: bool = True) -> PreTrainedTokenizerFast:
    """A word-level tokenizer over `WORDS` and the fillers w13, w14, ...; token 0 ends a text."""
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    vocabulary |= {f"w{i}": i for i in range(len(WORDS), VOCABULARY - 1)} | {"<unk>": VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated")]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        unk_token="<unk>",
        additional_special_tokens=["<|user|>", "<|bot|>"],
    )
    if template:
        wrapped.chat_template = TEMPLATE
    return wrapped


def save_tiny_model(folder: Path, family: str = "olmo2", seed: int = 0, template: bool = True, head: int = 8) -> Path:
    """A model folder in Hugging Face format.

    For some families, Qwen2 among them, transformers replaces how a saved tokenizer splits words; not for Olmo2.
    """
    tiny_model(family, seed, head).save_pretrained(folder)
    tiny_tokenizer(template).save_pretrained(folder)
    return folder
