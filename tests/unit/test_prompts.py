"""Prompts to the letter."""

from dataclasses import replace

import pytest

from tests.unit.tiny_models import tiny_tokenizer
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import INSTRUCTION, ModelConfig
from workflow_scripts.lib.models.prompts import PLAIN, Wording, build_prompt

CONFIG = ModelConfig("m", "nowhere", instruction="")


class Recorder:
    """Stands in for a tokenizer where only the text that reaches it matters."""

    chat_template = "yes"

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": list(text.encode())}

    def apply_chat_template(self, messages: list[dict[str, str]], **options: bool) -> list[int]:
        assert options == {"add_generation_prompt": True, "return_dict": False}
        assert [m["role"] for m in messages] == ["user"]
        return list(messages[0]["content"].encode())


def text(question: str, config: ModelConfig, wording: Wording = PLAIN) -> str:
    return bytes(build_prompt(question, config, Recorder(), wording)).decode()  # type: ignore[arg-type]


def test_qwen_boxed_to_the_letter() -> None:
    question = "What is {x} if \\frac{1}{2}x = 3?"
    expected = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        + question
        + "\nPlease reason step by step, and put your final answer within \\boxed{}.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert text(question, replace(CONFIG, prompt="qwen-boxed")) == expected


def test_instruction_can_be_set_and_left_out() -> None:
    assert text("Q", replace(CONFIG, instruction=INSTRUCTION)) == f"Q\n{INSTRUCTION}"
    assert text("Q", CONFIG) == "Q"
    assert text("Q", replace(CONFIG, prompt="plain", instruction="Think.")) == "Q\nThink.\n"
    assert text("Q", replace(CONFIG, prompt="plain")) == "Q\n"


def test_chat_uses_the_models_template() -> None:
    tokenizer = tiny_tokenizer()
    ids = build_prompt("What is the sum ?", CONFIG, tokenizer)
    assert tokenizer.convert_ids_to_tokens(ids) == ["<|user|>", "What", "is", "the", "sum", "?", "<|bot|>"]


def test_no_template_and_unknown_kind_are_refused() -> None:
    with pytest.raises(UserError, match=r"no chat template; set models\.m\.prompt to plain"):
        build_prompt("Q", CONFIG, tiny_tokenizer(template=False))
    with pytest.raises(UserError, match="'fancy' is none of chat, qwen-boxed, plain"):
        build_prompt("Q", replace(CONFIG, prompt="fancy"), tiny_tokenizer())


def test_a_data_set_has_its_own_words() -> None:
    code = Wording("Solve this:\n```python\n{question}\n```", instruction="", response_prefix="```python\n")
    chat = replace(CONFIG, instruction=INSTRUCTION)
    assert text("def f(x): {}", chat, code) == "Solve this:\n```python\ndef f(x): {}\n```" + "```python\n"
    assert text("Q", replace(chat, prompt="plain"), Wording(response_prefix="A:")) == f"Q\n{INSTRUCTION}\nA:"
    boxed = text("Q", replace(chat, prompt="qwen-boxed"), Wording(instruction="Be brief."))
    assert boxed.endswith("<|im_start|>user\nQ\nBe brief.<|im_end|>\n<|im_start|>assistant\n")
    tokenizer = tiny_tokenizer()
    ids = build_prompt("What", CONFIG, tokenizer, Wording(response_prefix="the sum is"))
    assert tokenizer.convert_ids_to_tokens(ids) == ["<|user|>", "What", "<|bot|>", "the", "sum", "is"]
