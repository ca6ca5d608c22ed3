r"""Ending a completion right after its first paragraph, one token at a time (method, sections 5 and 9).

A completion is cut after the first of its tokens in which a blank line ends, if the tokens so far contain something
other than white space: the first boundary that `models.paragraphs.paragraph_boundaries` finds in these tokens,
whatever follows. Whether further empty lines follow is not known yet. If they do, they begin the next completion. They
do not cut that one, because it contains nothing else yet, and in the finished response they belong to the paragraph
before them.

The text so far is in one of these states (`Text`):

        blank line, nothing written
    START ------------------------> GAP
      |  \                        /  |
      |   \ writes        writes /   |
      |    \                    /    |
      |     +---> WRITTEN <----+     |
      |              |               |
      | writes and   | blank line    | writes and
      | blank line   v               | blank line
      +------------> END <-----------+

- START: only white space so far, without a blank line. GAP: only white space so far, with a blank line.
  WRITTEN: something other than white space. END: the paragraph is complete, and stays so.
- Every state except END also exists with the flag LINE: the text ends with a line break.
- "Writes": the token contains something other than white space. Any other token changes only LINE.
- "Blank line": the token contains one; or the text ends with a line break and the token begins with one; or the text
  has the flag GAP and the token's leading white space contains another line break.

So a token acts by a few properties of its bytes (`Token`). The rule is a small table, `MOVES`, and following it is one
look-up per token, for a whole batch at once or for one row.
"""

import re
from collections.abc import Sequence
from enum import IntFlag, auto
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from tokenizers import decoders

from workflow_scripts.lib.models.paragraphs import WHITE_SPACE
from workflow_scripts.lib.models.tokens import token_bytes


class Token(IntFlag):
    """Properties of a token, by its bytes."""

    EMPTY = auto()
    """No bytes."""
    BLANK = auto()
    """It contains a blank line."""
    OPENS = auto()
    """It begins with a line break."""
    CLOSES = auto()
    """It ends with a line break."""
    EXTENDS = auto()
    """Its leading white space contains a line break."""
    WRITES = auto()
    """It contains something other than white space."""


class Text(IntFlag):
    """Properties of the text so far; together they are its state."""

    LINE = auto()
    """It ends with a line break."""
    GAP = auto()
    """It ends with a blank line, perhaps followed by other white space."""
    WRITTEN = auto()
    """It contains something other than white space."""


CLASSES, STATES = 2 ** len(Token), 2 ** len(Text)
START, END = 0, STATES
"""The state before the first token (no flag of `Text`), and the one after the paragraph's last."""
EXTENSION = re.compile(rb"[ \t\r\f\v]*\n")


def class_of(piece: bytes) -> int:
    """Return the flags of `Token` for a token with these bytes."""
    properties = (
        (Token.EMPTY, not piece),
        (Token.BLANK, b"\n\n" in piece),
        (Token.OPENS, piece.startswith(b"\n")),
        (Token.CLOSES, piece.endswith(b"\n")),
        (Token.EXTENDS, EXTENSION.match(piece)),
        (Token.WRITES, piece.strip(WHITE_SPACE)),
    )
    return int(sum(flag for flag, holds in properties if holds))


def move(state: int, kind: int) -> int:
    """Return the state after a token of class `kind`; `END` if the paragraph ends with it or has ended before."""
    if state == END:
        return END
    text, token = Text(state), Token(kind)
    if Token.EMPTY in token:
        return state
    blank = (
        Token.BLANK in token
        or (Text.LINE in text and Token.OPENS in token)
        or (Text.GAP in text and Token.EXTENDS in token)
    )
    written = Text.WRITTEN in text or Token.WRITES in token
    if blank and written:
        return END
    gap = (blank or Text.GAP in text) and Token.WRITES not in token
    flags = ((Text.LINE, Token.CLOSES in token), (Text.GAP, gap), (Text.WRITTEN, written))
    return sum(int(flag) for flag, holds in flags if holds)


MOVES = [[move(state, kind) for kind in range(CLASSES)] for state in range(STATES + 1)]
"""The state after a token, by the state before it and the token's class: [states + 1, classes]."""


def classes_of(tokenizer: Any, vocabulary: int) -> Int[np.ndarray, " vocabulary"]:
    """Return the class of each token id, each by itself; ids that the tokenizer does not know are empty."""
    ids = range(vocabulary)
    if isinstance(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None), decoders.ByteLevel):
        pieces = token_bytes(ids, tokenizer)
    else:
        options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        pieces = [text.encode() for text in tokenizer.batch_decode([[token] for token in ids], **options)]
    return np.array([class_of(piece) for piece in pieces], dtype=np.int64)


class ParagraphStop:
    """The rule for one tokenizer and a model with `vocabulary` token ids; its tensors are on `device`."""

    def __init__(self, tokenizer: Any, vocabulary: int, device: torch.device | str = "cpu") -> None:
        self.tokenizer, self.vocabulary, self.device = tokenizer, vocabulary, device

    @cached_property
    def classes(self) -> list[int]:
        """The class of each token id, computed when first needed."""
        return classes_of(self.tokenizer, self.vocabulary).tolist()

    @cached_property
    def tables(self) -> tuple[Int[torch.Tensor, "states classes"], Int[torch.Tensor, " vocabulary"]]:
        """`MOVES` and `classes` as tensors."""
        return torch.tensor(MOVES, device=self.device), torch.tensor(self.classes, device=self.device)

    def after(self, state: int, token_ids: Sequence[int]) -> int:
        """Return the state of one completion after some more tokens."""
        for token in token_ids:
            state = MOVES[state][self.classes[token]]
        return state

    def batch(
        self, states: Int[torch.Tensor, " rows"], token_ids: Int[torch.Tensor, " rows"]
    ) -> Int[torch.Tensor, " rows"]:
        """Return the states of several completions after one more token each."""
        moves, classes = self.tables
        return moves[states, classes[token_ids]]
