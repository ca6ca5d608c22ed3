"""A model's tokenizer, read as its file says, and the tokens that end a response."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workflow_scripts.lib.errors import UserError, one_line
from workflow_scripts.lib.models.load import ModelConfig, import_transformers, is_local

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

PROBE = (
    "Question: what is 12,345 + 6.78 - (9/10)%?\n\nLet $x_1 = \\frac{3}{4}$. Don't stop;  it's\tnaïve – 数学 🙂\r\n \n"
    "\n\n\ndef f(a):\n    return a[0] != 'b'  # CamelCase snake_case\n\nThe answer is \\boxed{42}.\n"
)
"""Text in which the usual ways to cut text into words differ."""
SAMPLED = 500
"""Entries of the vocabulary that the comparison of two readings also covers."""


def load_tokenizer(config: ModelConfig) -> "PreTrainedTokenizerBase":
    """Load the model's tokenizer, as `tokenizer.json` says where there is one.

    Transformers chooses a class by the model's type, and some classes cut text into words by their own rule, whatever
    the file says. Where that gives other tokens than the file does, the file decides, because the model was trained
    with it.

    Raises:
        UserError: it is missing or unreadable.
    """
    import_transformers()
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    is_local(config.path)
    options: dict[str, Any] = {"trust_remote_code": config.trust_remote_code, **config.hub_options}
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.path, **options)
        stated = _stated(config)
        if stated is None or not tokenizer.is_fast or _agree(tokenizer, stated):
            return tokenizer
        return PreTrainedTokenizerFast.from_pretrained(config.path, **config.hub_options)
    except Exception as error:  # the tokenizers library raises bare Exception on a damaged file
        raise UserError(f"{config.path}: tokenizer of {config.key} cannot be loaded ({one_line(error)})") from error


def _stated(config: ModelConfig) -> "Tokenizer | None":
    """Return the tokenizer of `tokenizer.json` alone; None where the model has no such file."""
    from tokenizers import Tokenizer
    from transformers.utils import cached_file

    file = cached_file(config.path, "tokenizer.json", _raise_exceptions_for_missing_entries=False, **config.hub_options)
    if file is None:
        return None
    stated = Tokenizer.from_file(file)
    stated.no_truncation()
    stated.no_padding()
    return stated


def _agree(tokenizer: "PreTrainedTokenizerBase", stated: "Tokenizer") -> bool:
    """Say whether both give the same tokens to the probe text and to text made of entries of the vocabulary."""
    size = stated.get_vocab_size()
    entries = stated.decode([i * size // SAMPLED for i in range(SAMPLED)] if size > SAMPLED else list(range(size)))
    return all(
        tokenizer(text, add_special_tokens=False)["input_ids"] == stated.encode(text, add_special_tokens=False).ids
        for text in (PROBE, entries)
    )


def end_ids(listed: int | Sequence[int] | None, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the ids of the end tokens: those in the model's settings and the tokenizer's own."""
    ids = {*(listed if isinstance(listed, Sequence) else [listed]), tokenizer.eos_token_id}
    return sorted(token for token in ids if token is not None)


def end_tokens(model: ModelConfig, tokenizer: "PreTrainedTokenizerBase") -> list[int]:
    """Return the end tokens of a model that is not loaded, from its generation settings or else its configuration."""
    from transformers import AutoConfig, GenerationConfig

    try:
        listed = GenerationConfig.from_pretrained(model.path, **model.hub_options).eos_token_id
    except OSError:
        config = AutoConfig.from_pretrained(model.path, trust_remote_code=model.trust_remote_code, **model.hub_options)
        listed = GenerationConfig.from_model_config(config).eos_token_id
    return end_ids(listed, tokenizer)
