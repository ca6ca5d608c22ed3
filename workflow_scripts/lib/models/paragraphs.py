"""Paragraph boundaries of a response, as offsets between its tokens (method, section 5).

Everything works on the token ids that the model produced and on the bytes that each of them represents; text is never
tokenised again.
"""

import codecs
import re
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from workflow_scripts.lib.models.tokens import token_bytes

BLANK_LINE = re.compile(rb"\n\n(?:[ \t\r\f\v]*\n)*")
WHITE_SPACE = b" \t\n\r\f\v"


def paragraph_boundaries(token_ids: Sequence[int], tokenizer: Any) -> list[int]:
    r"""Return offsets c_0 = 0 < c_1 < ... < c_K = T of a response of T tokens; paragraph k is `token_ids[c_{k-1}:c_k]`.

    A boundary is the first token boundary at or after a blank line ("\n\n"; further empty lines belong to the same
    blank line). Every paragraph contains something other than ASCII white space: one that would be empty joins the
    paragraph before it, or the first paragraph if there is none before. Without a blank line K = 1. An empty
    response gives `[0]`, K = 0.

    Takes time linear in T. `tokenizer` is a transformers tokenizer.
    """
    return boundaries_of_pieces(token_bytes(token_ids, tokenizer))


def paragraph_texts(token_ids: Sequence[int], boundaries: Sequence[int], tokenizer: Any) -> list[str]:
    """Return the text of each of the K paragraphs; joined they are the text of the response.

    A character with bytes on both sides of a boundary belongs to the paragraph in which it is completed.
    """
    pieces = token_bytes(token_ids, tokenizer)
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    last = boundaries[-1]
    return [decoder.decode(b"".join(pieces[start:end]), final=end == last) for start, end in pairwise(boundaries)]


def boundaries_of_pieces(pieces: Sequence[bytes]) -> list[int]:
    """Return `paragraph_boundaries` of a response with the bytes `pieces[t]` for token t."""
    ends = np.fromiter(accumulate(len(piece) for piece in pieces), dtype=np.int64, count=len(pieces))
    blank_lines = [match.end() for match in BLANK_LINE.finditer(b"".join(pieces))]
    candidates = np.unique(np.searchsorted(ends, blank_lines, side="left") + 1).tolist()
    written = [0, *accumulate(bool(piece.strip(WHITE_SPACE)) for piece in pieces)]
    boundaries = [0]
    for offset in [*candidates, len(pieces)]:
        if written[offset] > written[boundaries[-1]]:
            boundaries.append(offset)
        elif len(boundaries) > 1:  # only white space since the last boundary: it belongs to the paragraph before
            boundaries[-1] = offset
    return boundaries if boundaries[-1] == len(pieces) else [0, len(pieces)]
