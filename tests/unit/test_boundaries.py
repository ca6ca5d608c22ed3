"""Paragraph boundaries on token ids: awkward text, blank lines inside tokens, split characters, round trips."""

import random
from itertools import chain, pairwise

import pytest
from byte_tokenizers import byte_fallback, byte_level
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from workflow_scripts.lib.models.paragraphs import boundaries_of_pieces, paragraph_boundaries, paragraph_texts
from workflow_scripts.lib.models.tokens import PENDING, token_bytes

AWKWARD = [
    "\n",
    "\n\n",
    "\n\n\n",
    " ",
    ".\n\n",
    "a",
    "The",
    "é",
    "数",
    "🙂",
    "\t",
    "\r\n",
    "\n \n",
    "<|end|>",
    "\u00a0",
]


TOKENIZERS = {"words": byte_level(True), "runs": byte_level(False), "fallback": byte_fallback()}


def decode(tokenizer, ids):
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        pytest.param([], [0], id="empty response"),
        pytest.param(["One ", "paragraph\n", "only"], [0, 3], id="no blank line"),
        pytest.param(["A", "\n\n", "B"], [0, 2, 3], id="blank line is a token"),
        pytest.param(["A", "\n", "\n", "B"], [0, 3, 4], id="newlines over two tokens"),
        pytest.param(["A", ".\n", "\nB", "C"], [0, 3, 4], id="second newline opens a token"),
        pytest.param(["A", ".\n\n", "B"], [0, 2, 3], id="blank line ends a token"),
        pytest.param(["A", ".\n\nThe", " B"], [0, 2, 3], id="blank line inside a token"),
        pytest.param(["A", "\n\n", "\n", "\n\n", "B"], [0, 4, 5], id="several newlines are one blank line"),
        pytest.param(["A", "\n\n", "  \n", "B"], [0, 3, 4], id="spaces on an empty line"),
        pytest.param(["A", "\n\n", "  ", "B"], [0, 2, 4], id="an indented paragraph keeps its indent"),
        pytest.param(["A", "\n", " \n", "B"], [0, 4], id="a line of spaces alone is not two newlines in a row"),
        pytest.param(["\n\n", "A", "\n\n", "B"], [0, 3, 4], id="blank line at the start"),
        pytest.param([" ", "\n", "\n", "A"], [0, 4], id="white space and a blank line at the start"),
        pytest.param(["A", "\n\n"], [0, 2], id="blank line at the end"),
        pytest.param(["A", "\n\n", "B", "\n\n", " "], [0, 2, 5], id="blank line and a space at the end"),
        pytest.param(["A", "\n\nEnd"], [0, 2], id="blank line inside the last token"),
        pytest.param(["\n", "\n\n", "\n"], [0, 3], id="newlines only"),
        pytest.param(["A\n\nB\n\nC", "D"], [0, 1, 2], id="two blank lines inside one token"),
        pytest.param(["A\n\nB", "\n\n", "C"], [0, 2, 3], id="no paragraph of newlines only"),
        pytest.param(["A\n\nB", "\n\n"], [0, 2], id="no last paragraph of newlines only"),
        pytest.param(["A", "", "\n\n", "", "B"], [0, 3, 5], id="tokens without text"),
    ],
)
def test_boundary_is_the_first_between_tokens_at_or_after_the_blank_line(pieces, expected):
    assert boundaries_of_pieces([piece.encode() for piece in pieces]) == expected


@pytest.mark.parametrize("name", TOKENIZERS)
def test_awkward_text_goes_round(name):
    tokenizer, draw = TOKENIZERS[name], random.Random(f"awkward {name}")
    several = 0
    for _ in range(400):
        text = "".join(draw.choices(AWKWARD, k=draw.randint(0, 25)))
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        several += check(tokenizer, ids, text)
    assert several > 100


@pytest.mark.parametrize("name", ["words", "runs"])
def test_any_ids_go_round(name):
    """What a model samples need not be what the tokenizer would have made: characters are split and left unfinished."""
    tokenizer, draw = TOKENIZERS[name], random.Random(f"ids {name}")
    newline = tokenizer.convert_tokens_to_ids("Ċ")
    for _ in range(400):
        ids = [draw.choice([newline, draw.randrange(len(tokenizer))]) for _ in range(draw.randint(0, 30))]
        check(tokenizer, ids, decode(tokenizer, ids))


def check(tokenizer, ids, text):
    boundaries, pieces = paragraph_boundaries(ids, tokenizer), token_bytes(ids, tokenizer)
    texts = paragraph_texts(ids, boundaries, tokenizer)
    slices = [pieces[start:end] for start, end in pairwise(boundaries)]
    assert boundaries[0] == 0 and boundaries[-1] == len(ids) == len(pieces)
    assert len(texts) == len(slices) and all(slices)
    assert list(chain(*slices)) == pieces
    assert "".join(texts) == text == b"".join(pieces).decode(errors="replace")
    for index, paragraph in enumerate(slices):
        written = [token for token, piece in enumerate(paragraph) if piece.strip()]
        assert written or len(slices) == 1
        assert index + 1 == len(slices) or b"\n\n" in b"".join(paragraph)  # every boundary closes a blank line ...
        inside = b"".join(paragraph[: written[-1] if written else 0])
        assert b"\n\n" not in inside.lstrip()  # ... and none is left inside, save in the last token with text
    return len(slices) > 2


def test_a_character_split_over_a_boundary_goes_where_it_is_completed():
    tokenizer = TOKENIZERS["words"]
    pieces = [b"A", b"\n\n\xe6", b"\x95\xb0", b"B"]
    tokens = "".join(
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("A\n\n数B")[0][0]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_byte_level_with([tokens[0], tokens[1:4], tokens[4:6], tokens[6]])
    )
    assert token_bytes([0, 1, 2, 3], tokenizer) == pieces
    boundaries = paragraph_boundaries([0, 1, 2, 3], tokenizer)
    assert boundaries == [0, 2, 4]
    assert paragraph_texts([0, 1, 2, 3], boundaries, tokenizer) == ["A\n\n", "数B"]


def _byte_level_with(tokens):
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(tokens)}, unk_token=tokens[0]))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def test_boundaries_belong_to_the_ids_and_not_to_the_text():
    """Two ways to write one text: the boundary follows the tokens that were sampled."""
    tokenizer = TOKENIZERS["runs"]
    merged = tokenizer("Step one.\n\nThe sum")["input_ids"]
    spelled = [index for character in "Step one.\n\nThe sum" for index in tokenizer(character)["input_ids"]]
    assert decode(tokenizer, merged) == decode(tokenizer, spelled) and merged != spelled
    assert paragraph_boundaries(spelled, tokenizer) == [0, 11, len(spelled)]
    pieces = token_bytes(merged, tokenizer)
    assert paragraph_boundaries(merged, tokenizer) == boundaries_of_pieces(pieces)


def test_an_id_beyond_the_vocabulary_has_no_text():
    tokenizer = TOKENIZERS["words"]
    assert token_bytes([len(tokenizer) + 5], tokenizer) == [b""]
    assert paragraph_boundaries([len(tokenizer) + 5], tokenizer) == [0, 1]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_an_unfinished_character_does_not_hide_what_follows(name):
    """Hundreds of broken bytes in a row, then a blank line."""
    tokenizer = TOKENIZERS[name]
    broken = tokenizer("数", add_special_tokens=False)["input_ids"][:1] * 300
    after = tokenizer("a\n\nb", add_special_tokens=False)["input_ids"]
    assert len(paragraph_boundaries(broken + after, tokenizer)) == 3


def test_the_work_is_linear(monkeypatch):
    """Where text has to be decoded piece by piece, no more tokens are decoded in all than a short window for each."""
    tokenizer = byte_fallback()
    original, decoded = tokenizer.decode, []

    def counting(ids, **options):
        decoded.append(len(ids))
        return original(ids, **options)

    monkeypatch.setattr(tokenizer, "decode", counting)
    ids = tokenizer("Then a.\n\n数e\n" * 60, add_special_tokens=False)["input_ids"] + [0xE6] * 500
    paragraph_boundaries(ids, tokenizer)
    assert len(ids) < sum(decoded) <= 3 * PENDING * len(ids)
