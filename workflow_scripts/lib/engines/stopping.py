"""How a response ends: at end tokens, for `stop: harness` also at words, and on request at a paragraph's end.

The words are those at which the evaluation harness behind the paper's settings cuts a response. Two of them are plain
words, so a correct solution that contains "user" is cut there. `harness` exists for comparison only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from workflow_scripts.lib.engines.interface import Completion, Sampling
from workflow_scripts.lib.engines.paragraph_stop import END, START, ParagraphStop
from workflow_scripts.lib.models.tokens import response_text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

HARNESS_STOPS = ("</s>", "<|im_end|>", "<|endoftext|>", "assistant", "user", "_end", "_start")
HARNESS_CHECK_EVERY = 32


def _first_stop(text: str) -> int | None:
    places = [place for place in (text.find(stop) for stop in HARNESS_STOPS) if place >= 0]
    return min(places, default=None)


def harness_cut(token_ids: Sequence[int], tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Return how many tokens lie completely before the first stop word; None if there is no stop word."""
    place = _first_stop(response_text(token_ids, tokenizer))
    if place is None:
        return None
    low, high = 0, len(token_ids)
    while low < high:  # the longest prefix of tokens whose text ends at or before the stop word
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(response_text(token_ids[:middle], tokenizer)) <= place else (low, middle - 1)
    return low


def harness_window_hits(
    windows: Sequence[tuple[int, Sequence[int]]], tokenizer: "PreTrainedTokenizerBase"
) -> list[int]:
    """Return the names of the windows of tokens that contain a stop word."""
    return [name for name, token_ids in windows if _first_stop(response_text(token_ids, tokenizer)) is not None]


def completion(
    token_ids: list[int], logprobs: list[float], stopped: bool, sampling: Sampling, paragraphs: ParagraphStop
) -> Completion:
    """Build a completion from tokens up to a stop token (`stopped`), a paragraph's end or the limit, cut at words."""
    cut = harness_cut(token_ids, paragraphs.tokenizer) if sampling.stop == "harness" else None
    if cut is not None:
        return Completion(token_ids[:cut], logprobs[:cut], "stop")
    if sampling.paragraph and paragraphs.after(START, token_ids) == END:
        return Completion(token_ids, logprobs, "paragraph")
    return Completion(token_ids, logprobs, "stop" if stopped else "length")
