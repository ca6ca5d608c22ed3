"""Ending a completion right after its first paragraph, one token at a time (method, sections 5 and 9).

A completion is cut after the first of its tokens in which a blank line ends, provided that it holds something other
than white space by then: the first boundary that `boundaries.paragraph_boundaries` finds in its own tokens, whatever
follows. Whether further empty lines follow cannot be known then. Where they do, they open the next completion; that
one is not cut for them, as it holds nothing yet, and the finished response counts them to the paragraph before.

What a token does to the state depends on a few properties of its bytes. So the rule is a small table, and following it
is one look-up a token, for a whole batch at once or for one row.
"""

import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from tokenizers import decoders

from workflow_scripts.lib.models.paragraphs import WHITE_SPACE
from workflow_scripts.lib.models.tokens import token_bytes

EMPTY, BLANK, OPENS, CLOSES, EXTENDS, WRITES = (1 << bit for bit in range(6))
"""Properties of a token: no bytes; holds a blank line; begins, ends with a line break; its leading white space holds a
line break; holds something other than white space."""
LINE, GAP, WRITTEN = (1 << bit for bit in range(3))
"""Properties of the text so far: it ends with a line break; it ends with a blank line; something is written."""
START, END = 0, 8
EXTENSION = re.compile(rb"[ \t\r\f\v]*\n")


def class_of(piece: bytes) -> int:
    """The properties of a token that stands for these bytes."""
    held = {
        EMPTY: not piece,
        BLANK: b"\n\n" in piece,
        OPENS: piece.startswith(b"\n"),
        CLOSES: piece.endswith(b"\n"),
        EXTENDS: EXTENSION.match(piece),
        WRITES: piece.strip(WHITE_SPACE),
    }
    return sum(bit for bit, holds in held.items() if holds)


def move(state: int, kind: int) -> int:
    """The state after a token of this class; `END` where the paragraph ends with it, and for good."""
    if state == END or kind & EMPTY:
        return state
    blank = kind & BLANK or (state & LINE and kind & OPENS) or (state & GAP and kind & EXTENDS)
    written = state & WRITTEN or kind & WRITES
    if blank and written:
        return END
    gap = (blank or state & GAP) and not kind & WRITES
    return LINE * bool(kind & CLOSES) | GAP * bool(gap) | WRITTEN * bool(written)


MOVES = [[move(state, kind) for kind in range(2 * WRITES)] for state in range(END + 1)]


def classes_of(tokenizer: Any, vocabulary: int) -> Int[np.ndarray, " vocabulary"]:
    """The class of each token id, each taken by itself; ids that the tokenizer does not know are empty."""
    ids = range(vocabulary)
    if isinstance(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None), decoders.ByteLevel):
        pieces = token_bytes(ids, tokenizer)
    else:
        options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        pieces = [text.encode() for text in tokenizer.batch_decode([[token] for token in ids], **options)]
    return np.array([class_of(piece) for piece in pieces], dtype=np.int64)


class ParagraphStop:
    """The rule for one tokenizer and a model with `vocabulary` token ids; its tensors lie on `device`."""

    def __init__(self, tokenizer: Any, vocabulary: int, device: torch.device | str = "cpu") -> None:
        self.tokenizer, self.vocabulary, self.device = tokenizer, vocabulary, device

    @cached_property
    def classes(self) -> list[int]:
        """The class of each token id, found when it is first asked for."""
        return classes_of(self.tokenizer, self.vocabulary).tolist()

    @cached_property
    def tables(self) -> tuple[Int[torch.Tensor, "states classes"], Int[torch.Tensor, " vocabulary"]]:
        """`MOVES` and `classes` as tensors."""
        return torch.tensor(MOVES, device=self.device), torch.tensor(self.classes, device=self.device)

    def after(self, state: int, token_ids: Sequence[int]) -> int:
        """The state of one completion after some more tokens."""
        for token in token_ids:
            state = MOVES[state][self.classes[token]]
        return state

    def batch(
        self, states: Int[torch.Tensor, " rows"], token_ids: Int[torch.Tensor, " rows"]
    ) -> Int[torch.Tensor, " rows"]:
        """The states of several completions after one more token each."""
        moves, classes = self.tables
        return moves[states, classes[token_ids]]
