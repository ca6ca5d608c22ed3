"""The bytes and the text that token ids represent; text is never tokenised again."""

import codecs
from collections.abc import Sequence
from typing import Any

from tokenizers import decoders

PENDING = 8  # tokens to wait until a character is complete; UTF-8 needs at most four


def token_bytes(token_ids: Sequence[int], tokenizer: Any) -> list[bytes]:
    """Return the bytes of each token; joined and decoded they are the text of the sequence, special tokens included.

    For byte-level tokenizers (the Qwen, Llama 3, GPT families) they come from the vocabulary, where a token may contain
    part of a character. For others they are the text that each further token adds to the decoded prefix, and a
    character that takes several tokens belongs to the last of them. An id that the tokenizer does not know (padding of
    the embedding matrix) is empty.
    """
    if isinstance(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None), decoders.ByteLevel):
        unique = sorted(set(token_ids))
        literal = {token_id: str(token) for token_id, token in tokenizer.added_tokens_decoder.items()}
        names = dict(zip(unique, tokenizer.convert_ids_to_tokens(unique), strict=True))
        known = {i: literal[i].encode() if i in literal else _byte_level(names[i] or "") for i in unique}
        return [known[token_id] for token_id in token_ids]
    return [piece.encode() for piece in _added_text(token_ids, tokenizer)]


def _byte_level(token: str) -> bytes:
    """Undo the printable disguise of a byte-level token; a token with a character outside of it represents itself."""
    try:
        return bytes(BYTE_OF[character] for character in token)
    except KeyError:
        return token.encode()


def _byte_table() -> dict[str, int]:
    """Map characters of byte-level vocabularies to bytes: printable Latin-1 as it is, the rest in order from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(hidden)}


BYTE_OF = _byte_table()


def _added_text(token_ids: Sequence[int], tokenizer: Any) -> list[str]:
    """Return what each token adds to the text, by decoding a window of at most `PENDING` tokens with and without it."""
    ids = list(token_ids)
    pieces = [""] * len(ids)
    start = read = 0  # the window's first token, and the first token without its text yet
    for index in range(len(ids)):
        before, after = response_text(ids[start:read], tokenizer), response_text(ids[start : index + 1], tokenizer)
        whole = len(after) > len(before) and not after.endswith("\N{REPLACEMENT CHARACTER}")
        if whole or index + 1 in (len(ids), read + PENDING):
            pieces[index] = after[len(before) :]
            start, read = read, index + 1
    return pieces


def response_text(token_ids: Sequence[int], tokenizer: Any) -> str:
    """Return the text of a response, exactly as its tokens spell it."""
    return tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


def text_pieces(token_ids: Sequence[int], tokenizer: Any) -> list[str]:
    """Return the text of each token; joined they are the text of the response.

    A character with bytes in several tokens belongs to the token that completes it.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    pieces = [decoder.decode(piece) for piece in token_bytes(token_ids, tokenizer)]
    return [*pieces[:-1], pieces[-1] + decoder.decode(b"", final=True)] if pieces else []
