"""The architecture of the reference models: a small Qwen2 with a byte-level tokenizer that knows the tasks' words.

All files are in the format that transformers and vLLM load without any special case.
"""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, PreTrainedTokenizerBase, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from workflow_scripts.lib.reference.tasks import TASKS, demonstrate, generate_problems
from workflow_scripts.lib.seeds import generator, seed64

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Words and single digits with their leading space, punctuation with the line breaks that follow it: so a blank line is
# often inside a token, as in the large models' tokenizers.
WORDS = r" ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def train_tokenizer(seed: int, n_texts: int = 600) -> Qwen2Tokenizer:
    """Train a byte-level BPE tokenizer on demonstrations of every task; any text round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    rng = generator(seed, "tokenizer")
    texts = [
        f"{problem.question}\n{demonstrate(problem, rng)}"
        for task in TASKS
        for problem in generate_problems(task, "training", n_texts, seed)
    ]
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        min_frequency=20,
        special_tokens=[END, START, STOP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["user\nassistant\nsystem\n"] * 50 + texts, trainer)
    return as_qwen(tokenizer)


def as_qwen(tokenizer: Tokenizer) -> Qwen2Tokenizer:
    """Return the same tokens, with the same ids, as a Qwen2 tokenizer, which is what a Qwen2 model's folder loads as.

    That class has its own rule for cutting text before merging, by which a digit never keeps its space. Digits with
    their space are therefore added tokens, which are matched before that rule applies.
    """
    spaced = {f"Ġ{digit}": f" {digit}" for digit in range(10)}
    vocabulary = {spaced.get(token, token): number for token, number in tokenizer.get_vocab().items()}
    merges: list[Any] = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    merges = [pair for pair in merges if "".join(pair) not in spaced]
    wrapped = Qwen2Tokenizer(vocab=vocabulary, merges=merges, eos_token=STOP, pad_token=END, unk_token=END)
    wrapped.add_tokens([AddedToken(START, special=True)])
    wrapped.add_tokens([AddedToken(token, normalized=False) for token in spaced.values()])
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def build_model(vocabulary: int, seed: int, pad: int, stop: int) -> Qwen2ForCausalLM:
    """Build a randomly initialised model: 6 layers, 192 wide, about 2.5 million parameters."""
    torch.manual_seed(seed64(seed, "initial weights") % 2**63)
    config = Qwen2Config(
        vocab_size=-(-vocabulary // 64) * 64,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=stop,
        pad_token_id=pad,
    )
    return Qwen2ForCausalLM(config)


def save_model(model: Qwen2ForCausalLM, tokenizer: Qwen2Tokenizer, folder: Path) -> None:
    """Write weights as bfloat16 safetensors, configuration, tokenizer with chat template, sampling defaults."""
    state = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
    model.bfloat16()
    stop, pad = model.config.eos_token_id, model.config.pad_token_id
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=1.0, top_p=0.95, eos_token_id=stop, pad_token_id=pad
    )
    model.save_pretrained(folder)
    model.float().load_state_dict(state)
    tokenizer.save_pretrained(folder)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, question: str) -> list[int]:
    """Return the chat prompt of one question as token ids."""
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
    )
    return tokenizer(text, add_special_tokens=False)["input_ids"]
