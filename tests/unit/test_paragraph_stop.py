"""A completion is cut where its own tokens have their first boundary, whatever follows."""

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.unit.byte_tokenizers import byte_fallback, byte_level
from tests.unit.tiny_models import tiny_model
from workflow_scripts.lib.engines.interface import Request, Sampling
from workflow_scripts.lib.engines.paragraph_stop import END, MOVES, START, ParagraphStop, class_of, classes_of
from workflow_scripts.lib.engines.transformers_engine import TransformersEngine
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.models.paragraphs import boundaries_of_pieces, paragraph_boundaries
from workflow_scripts.lib.models.tokenizer import load_tokenizer
from workflow_scripts.lib.models.tokens import token_bytes

PIECES = [
    b"a",
    b"\n",
    b"\n\n",
    b" ",
    b".\n\n",
    b"\n\nb",
    b" \nc",
    b"x\n",
    b"\nd",
    b"",
    b"\n \n",
    b"\n\n \t\n",
    b"e\n\nf\n",
]


def cut_of(pieces: list[bytes]) -> int | None:
    """How many tokens are kept, by the table."""
    state = START
    for place, piece in enumerate(pieces):
        state = MOVES[state][class_of(piece)]
        if state == END:
            return place + 1
    return None


def first_boundary(pieces: list[bytes]) -> int | None:
    """The same by `boundaries_of_pieces`: the first prefix that is a whole paragraph, were more text to follow."""
    for end in range(1, len(pieces) + 1):
        if boundaries_of_pieces([*pieces[:end], b"z"]) == [0, end, end + 1]:
            return end
    return None


def test_the_cut_is_the_first_boundary_of_the_tokens_so_far() -> None:
    rng = random.Random(0)
    found = []
    for _ in range(4000):
        pieces = rng.choices(PIECES, k=rng.randrange(8))
        found.append(first_boundary(pieces))
        assert cut_of(pieces) == found[-1], pieces
    assert {None, 1, 2, 3, 4, 5} <= set(found)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("a.\n\nb", 4),
        ("\n\na\n\nb", 5),  # a blank line before anything is written ends no paragraph
        ("a\n\n\nb", 3),  # the third line break opens the next completion
        ("a\n \nb", None),  # a line of spaces is no blank line
        ("a", None),
        ("", None),
    ],
)
def test_known_cuts_of_single_characters(text: str, cut: int | None) -> None:
    assert cut_of([character.encode() for character in text]) == cut


@pytest.mark.parametrize("tokenizer", [byte_level(True), byte_level(False), byte_fallback()])
def test_tokens_of_every_kind_of_tokenizer(tokenizer: Any) -> None:
    ids = tokenizer("\n\nStep one.\n\nThe sum is 12. \n\nabc", add_special_tokens=False)["input_ids"]
    stop = ParagraphStop(tokenizer, len(tokenizer) + 5)  # an embedding matrix may be larger than its tokenizer
    assert [class_of(b"")] * 5 == stop.classes[-5:]
    starts, offset = [], 0
    while offset < len(ids):
        state, begin = START, offset
        while offset < len(ids) and state != END:
            state, offset = stop.after(state, ids[offset : offset + 1]), offset + 1
        starts.append(begin)
    assert [*starts, len(ids)] == paragraph_boundaries(ids, tokenizer) and len(starts) == 3


def test_a_batch_follows_the_same_table() -> None:
    tokenizer = byte_level(False)
    stop, rng = ParagraphStop(tokenizer, len(tokenizer)), random.Random(1)
    rows = [[rng.randrange(len(tokenizer)) for _ in range(20)] + tokenizer("a\n\n")["input_ids"] for _ in range(30)]
    states = torch.zeros(30, dtype=torch.long)
    for column in range(20):
        states = stop.batch(states, torch.tensor([row[column] for row in rows], dtype=torch.int32))
    assert states.tolist() == [stop.after(START, row[:20]) for row in rows]


def test_classes_of_a_vocabulary_read_off_or_decoded_agree() -> None:
    tokenizer = load_tokenizer(ModelConfig("grpo", "resources/models/grpo"))
    read = classes_of(tokenizer, len(tokenizer)).tolist()
    assert read == [class_of(token_bytes([token], tokenizer)[0]) for token in range(len(tokenizer))]
    decoded = SimpleNamespace(batch_decode=tokenizer.batch_decode)  # no byte-level decoder to be seen
    same = classes_of(decoded, len(tokenizer)).tolist()
    assert same == read and len(set(read)) > 4


def paragraph_engine() -> TransformersEngine:
    """A random model that writes characters, line breaks and blank lines."""
    return TransformersEngine(tiny_model("qwen2"), byte_level(False), 7)


@pytest.mark.parametrize("limit", [1, 12, 60])
def test_the_engine_cuts_the_completion_that_it_would_have_given(limit: int) -> None:
    engine = paragraph_engine()
    line, newline = engine.tokenizer("a")["input_ids"][0], engine.tokenizer("\n")["input_ids"][0]
    blank = [token for token in range(engine.vocabulary) if engine.paragraphs.classes[token] & 2]
    bias = torch.zeros(engine.vocabulary)
    bias[[line, newline, *blank]] = 8.0  # these random weights would seldom write a blank line
    engine.model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits + bias)
    wanted = [Request((5, 6, 7 + i), tuple(f"p{i}/{n}" for n in range(6)), limit) for i in range(5)]
    whole = dict(engine.generate(wanted, Sampling(1.0, 0.95, limit), 0))
    cut = dict(engine.generate(wanted, Sampling(1.0, 0.95, limit, paragraph=True), 0))
    reasons = set()
    for index in range(len(wanted)):
        for one, other in zip(cut[index], whole[index], strict=True):
            pieces = token_bytes(other.token_ids, engine.tokenizer)
            end = cut_of(pieces)
            reasons.add(one.finish_reason)
            assert one.finish_reason == ("paragraph" if end else other.finish_reason)
            assert one.token_ids == other.token_ids[:end] and len(one.logprobs) == len(one.token_ids)
            torch.testing.assert_close(
                torch.tensor(one.logprobs), torch.tensor(other.logprobs[:end]), atol=1e-4, rtol=0
            )
    assert "paragraph" in reasons or limit == 1
