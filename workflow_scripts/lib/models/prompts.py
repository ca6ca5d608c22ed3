"""From a question to the token ids of a prompt."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2 import TemplateError

from workflow_scripts.lib.errors import UserError, one_line
from workflow_scripts.lib.models.load import INSTRUCTION, ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

QWEN_BOXED = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{turn}<|im_end|>\n"
    "<|im_start|>assistant\n"
)


@dataclass(frozen=True)
class Wording:
    """The text around a question: see `template`, `instruction` and `response_prefix` of `datasets`."""

    template: str = "{question}"
    instruction: str | None = None
    response_prefix: str = ""

    def turn(self, question: str, instruction: str) -> str:
        """Return the user's turn: the question in its template, and a line with the instruction unless it is empty."""
        text = self.template.replace("{question}", question)
        line = instruction if self.instruction is None else self.instruction
        return f"{text}\n{line}" if line else text


PLAIN = Wording()


def build_prompt(
    question: str, config: ModelConfig, tokenizer: "PreTrainedTokenizerBase", wording: Wording = PLAIN
) -> list[int]:
    """Return token ids of the prompt, ready to be continued.

    `chat` is the model's own template with the question as the user's turn; `qwen-boxed` the prompt of the paper
    (Table 6) to the letter, with an instruction that only a data set can replace; `plain` the question, the instruction
    and a line break, for base models without a template.

    Raises:
        UserError: an unknown kind of prompt, or `chat` for a model without a template that works.
    """
    turn = wording.turn(question, INSTRUCTION if config.prompt == "qwen-boxed" else config.instruction)
    opening = wording.response_prefix
    if config.prompt == "qwen-boxed":
        return list(tokenizer(QWEN_BOXED.replace("{turn}", turn) + opening)["input_ids"])
    if config.prompt == "plain":
        return list(tokenizer(f"{turn}\n{opening}")["input_ids"])
    if config.prompt != "chat":
        raise UserError(
            f"configuration: models.{config.key}.prompt: {config.prompt!r} is none of chat, qwen-boxed, plain"
        )
    if not tokenizer.chat_template:
        raise UserError(f"{config.path}: its tokenizer has no chat template; set models.{config.key}.prompt to plain")
    messages = [{"role": "user", "content": turn}]
    try:  # templates come with the model and run in Jinja's sandbox
        prompt = list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
    except TemplateError as error:
        raise UserError(f"{config.path}: its chat template fails ({one_line(error)}); fix it or set prompt") from error
    return prompt + (list(tokenizer(opening, add_special_tokens=False)["input_ids"]) if opening else [])
