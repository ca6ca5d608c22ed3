"""From a question to the token ids of a prompt."""

from transformers import PreTrainedTokenizerBase

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models import INSTRUCTION, ModelConfig

QWEN_BOXED = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "<|im_start|>user\n{question}\n" + INSTRUCTION.replace("{}", "{{}}") + "<|im_end|>\n"
    "<|im_start|>assistant\n"
)


def with_instruction(question: str, instruction: str) -> str:
    """The question, and the instruction on its own line unless it is empty."""
    return f"{question}\n{instruction}" if instruction else question


def build_prompt(question: str, config: ModelConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of the prompt, ready to be continued.

    `chat` is the model's own template with the question as the user's turn; `qwen-boxed` the prompt of the paper
    (Table 6) to the letter; `plain` the question, the instruction and a line break, for base models without a template.

    Raises:
        UserError: an unknown kind of prompt, or `chat` for a model without a template.
    """
    if config.prompt == "qwen-boxed":
        return list(tokenizer(QWEN_BOXED.format(question=question))["input_ids"])
    turn = with_instruction(question, config.instruction)
    if config.prompt == "plain":
        return list(tokenizer(turn + "\n")["input_ids"])
    if config.prompt != "chat":
        raise UserError(
            f"configuration: models.{config.key}.prompt: {config.prompt!r} is none of chat, qwen-boxed, plain"
        )
    if not tokenizer.chat_template:
        raise UserError(f"{config.path}: its tokenizer has no chat template; set models.{config.key}.prompt to plain")
    messages = [{"role": "user", "content": turn}]
    return list(tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False))
