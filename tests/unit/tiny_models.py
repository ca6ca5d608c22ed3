"""Tiny random language models of several families and a word tokenizer, built from nothing, for the tests."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
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


def tiny_model(family: str, seed: int = 0) -> Any:
    """A random model of three layers: `qwen2`, `llama`, `olmo2`, `mistral` with a window of 8, `gpt2`.

    Its weights are large enough that tokens depend on what came before.
    """
    torch.manual_seed(seed)
    model: PreTrainedModel
    if family == "qwen2":
        model = Qwen2ForCausalLM(Qwen2Config(**SHAPE, **LAYERS))
    elif family == "llama":
        model = LlamaForCausalLM(LlamaConfig(**SHAPE, **LAYERS, tie_word_embeddings=True))
    elif family == "olmo2":
        model = Olmo2ForCausalLM(Olmo2Config(**SHAPE, **LAYERS))
    elif family == "mistral":
        model = MistralForCausalLM(MistralConfig(**SHAPE, **LAYERS, sliding_window=8))
    else:
        model = GPT2LMHeadModel(GPT2Config(**SHAPE, n_embd=32, n_layer=3, n_head=4, n_positions=128))
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


def save_tiny_model(folder: Path, family: str = "olmo2", seed: int = 0, template: bool = True) -> Path:
    """A model folder in Hugging Face format.

    For some families, Qwen2 among them, transformers replaces how a saved tokenizer splits words; not for Olmo2.
    """
    tiny_model(family, seed).save_pretrained(folder)
    tiny_tokenizer(template).save_pretrained(folder)
    return folder
