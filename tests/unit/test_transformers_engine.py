"""A completion depends on its prefix and its key alone, and is what plain step-by-step sampling gives."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from tests.unit.tiny_models import PAPER_FAMILIES, VOCABULARY, tiny_model, tiny_tokenizer
from workflow_scripts.lib.engines.interface import Completion, Request, Sampling
from workflow_scripts.lib.engines.start import load_engine
from workflow_scripts.lib.engines.stopping import harness_cut
from workflow_scripts.lib.engines.transformers_engine import TransformersEngine, split_jobs
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.seeds import generator

SAMPLING = Sampling(temperature=0.8, top_p=0.9, max_tokens=30)
FAMILIES = [*PAPER_FAMILIES, "mistral", "gpt2"]


def requests(n: int = 7, seed: int = 0) -> list[Request]:
    """Prefixes of 1 to 25 tokens with 1 to 4 keys and limits of 1 to 30 tokens."""
    rng = random.Random(seed)
    made = []
    for i in range(n):
        prefix = tuple(rng.randrange(1, VOCABULARY) for _ in range(rng.choice([1, 3, 12, 25])))
        made.append(Request(prefix, tuple(f"p{i}/{k}" for k in range(rng.randrange(1, 5))), rng.choice([1, 8, 30])))
    return made


def run(model: PreTrainedModel, wanted: list[Request], batch_size: int, sampling: Sampling) -> dict[str, Completion]:
    engine = TransformersEngine(model, tiny_tokenizer(), batch_size)
    done = dict(engine.generate(wanted, sampling, seed=3))
    assert sorted(done) == list(range(len(wanted)))
    return {key: c for i, request in enumerate(wanted) for key, c in zip(request.keys, done[i], strict=True)}


def plain_completion(model: PreTrainedModel, prefix: tuple[int, ...], key: str, limit: int, s: Sampling) -> Completion:
    """One row, no cache, no padding, float64 over the whole vocabulary."""
    stream, ids = generator(3, key), list(prefix)
    logprobs: list[float] = []
    for step in range(limit):
        if step % 64 == 0:
            numbers = stream.random(64)
        logits = model(torch.tensor([ids])).logits[0, -1].double()
        probabilities = (logits / s.temperature).softmax(-1).numpy()
        order = np.argsort(-probabilities)
        mass = np.cumsum(probabilities[order])
        size = min(int(np.searchsorted(mass, s.top_p)) + 1, len(mass))
        place = np.searchsorted(mass[:size], numbers[step % 64] * mass[size - 1], side="right")
        token = int(order[place])
        if token == 0:
            return Completion(ids[len(prefix) :], logprobs, "stop")
        ids.append(token)
        logprobs.append(float(logits.log_softmax(-1)[token]))
    return Completion(ids[len(prefix) :], logprobs, "length")


@pytest.mark.parametrize("family", FAMILIES)
def test_completions_equal_plain_sampling(family: str) -> None:
    model, wanted = tiny_model(family), requests()
    found = run(model, wanted, batch_size=5, sampling=SAMPLING)
    for request in wanted:
        for key in request.keys:
            plain = plain_completion(model, request.token_ids, key, request.max_tokens, SAMPLING)
            assert found[key].token_ids == plain.token_ids
            assert found[key].finish_reason == plain.finish_reason
            np.testing.assert_allclose(found[key].logprobs, plain.logprobs, atol=1e-4)
    reasons = {"length"} if family == "qwen3.5" else {"stop", "length"}  # these random weights never choose the end
    assert {c.finish_reason for c in found.values()} == reasons


@pytest.mark.parametrize("family", FAMILIES)
def test_batch_order_padding_and_siblings_change_no_token(family: str) -> None:
    model, wanted = tiny_model(family), requests(10, seed=1)
    expected = {key: (c.token_ids, c.finish_reason) for key, c in run(model, wanted, 64, SAMPLING).items()}
    alone = [Request(r.token_ids, (key,), r.max_tokens) for r in wanted for key in r.keys]
    for batch_size, variant in [(1, wanted), (3, wanted[::-1]), (7, alone), (200, wanted + requests(5, seed=2))]:
        if batch_size == 200:  # strangers in the batch, under other keys
            variant = wanted + [replace(r, keys=tuple("x" + k for k in r.keys)) for r in variant[len(wanted) :]]
        found = run(model, variant, batch_size, SAMPLING)
        assert {key: (found[key].token_ids, found[key].finish_reason) for key in expected} == expected


def test_prefill_in_blocks_and_long_generation_refill(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("qwen2")
    model.generation_config.eos_token_id = None
    tokenizer_free = Sampling(1.0, 1.0, 100)
    wanted = [Request((5, 6, 7, 8, 9, 10, 11), ("a", "b"), 100), Request((9,), ("c",), 70)]
    expected = run(model, wanted, 8, tokenizer_free)
    monkeypatch.setattr("workflow_scripts.lib.engines.transformers_engine.PREFILL_TOKENS", 4)
    assert {k: c.token_ids for k, c in run(model, wanted, 8, tokenizer_free).items()} == {
        k: c.token_ids for k, c in expected.items()
    }
    plain = plain_completion(model, wanted[0].token_ids, "a", 100, tokenizer_free)
    assert len(plain.token_ids) > 64, "the test must pass a block of random numbers"
    assert expected["a"].token_ids == plain.token_ids


def test_temperature_zero_takes_the_most_likely_token() -> None:
    model = tiny_model("llama")
    greedy = run(model, [Request((4, 5), ("a", "b"), 12)], 4, Sampling(0.0, 1.0, 12))
    ids = [4, 5]
    for _ in range(12):
        token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token == 0:
            break
        ids.append(token)
    assert greedy["a"].token_ids == greedy["b"].token_ids == ids[2:]


def test_seed_and_key_change_the_completion() -> None:
    model = tiny_model("qwen2")
    engine = TransformersEngine(model, tiny_tokenizer(), 8)
    request = Request((4, 5, 6), ("a", "b"), 30)
    first, second = (dict(engine.generate([request], SAMPLING, seed))[0] for seed in (1, 2))
    assert len({tuple(c.token_ids) for c in first + second}) == 4


def test_no_room_and_no_keys() -> None:
    found = run(tiny_model("qwen2"), [Request((4,), ("a", "b"), 0), Request((5,), (), 9)], 8, SAMPLING)
    assert found == {"a": Completion([], [], "length"), "b": Completion([], [], "length")}


def test_empty_prompt_and_unknown_engine_are_refused() -> None:
    engine = TransformersEngine(tiny_model("qwen2"), tiny_tokenizer(), 8)
    with pytest.raises(UserError, match="prefix of 0 tokens"):
        list(engine.generate([Request((), ("a",), 5)], SAMPLING, 0))
    with pytest.raises(UserError, match="none of transformers"):
        load_engine("fast", ModelConfig("m", "nowhere"))


def test_batches_hold_every_key_once() -> None:
    wanted = requests(20, seed=5)
    batches = list(split_jobs(wanted, 4))
    assert all(sum(len(job.keys) for job in batch) == 4 for batch in batches[:-1])
    assert sorted(key for batch in batches for job in batch for key in job.keys) == sorted(
        key for request in wanted for key in request.keys
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("block", [3, 64_000_000])
def test_scores_equal_one_plain_pass(family: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workflow_scripts.lib.engines.transformers_engine.SCORE_LOGITS", block * VOCABULARY)
    model = tiny_model(family)
    rng = random.Random(1)
    sequences = [[rng.randrange(VOCABULARY) for _ in range(n)] for n in (9, 1, 0, 30, 17)]
    scores = TransformersEngine(model, tiny_tokenizer(), 3).score(sequences)
    for sequence, score in zip(sequences, scores, strict=True):
        assert len(score) == len(sequence)
        if len(sequence) > 1:
            logprobs = model(torch.tensor([sequence])).logits[0].log_softmax(-1)
            expected = logprobs[:-1].gather(-1, torch.tensor(sequence[1:])[:, None])[:, 0]
            assert np.isnan(score[0])
            np.testing.assert_allclose(score[1:], expected.numpy(), atol=1e-4)


def test_sampled_logprobs_are_the_scores_of_the_tokens() -> None:
    engine = TransformersEngine(tiny_model("qwen2"), tiny_tokenizer(), 8)
    [(_, [completion])] = list(engine.generate([Request((4, 5, 6), ("a",), 30)], SAMPLING, 0))
    score = engine.score([[4, 5, 6, *completion.token_ids]])[0]
    np.testing.assert_allclose(completion.logprobs, score[3:], atol=1e-4)


def test_harness_stops_cut_before_the_word() -> None:
    model, tokenizer = tiny_model("qwen2"), tiny_tokenizer()
    keys = tuple(f"k{i}" for i in range(200))
    request = Request((4, 5), keys, 100)
    default = run(model, [request], 200, Sampling(1.0, 1.0, 100))
    harness = run(model, [request], 200, Sampling(1.0, 1.0, 100, "harness"))
    words = {"user", "<|user|>", "assistant", "_end"}
    n_cut = 0
    for key in keys:
        stops = [i for i, t in enumerate(default[key].token_ids) if tokenizer.convert_ids_to_tokens(t) in words]
        expected = default[key].token_ids[: stops[0]] if stops else default[key].token_ids
        assert harness[key].token_ids == expected
        assert len(harness[key].logprobs) == len(expected)
        n_cut += bool(stops)
        assert harness[key].finish_reason == ("stop" if stops else default[key].finish_reason)
    assert n_cut > 20


def test_harness_cut_of_text_without_a_stop_word() -> None:
    tokenizer = tiny_tokenizer()
    assert harness_cut(tokenizer("What is the sum")["input_ids"], tokenizer) is None
    assert harness_cut(tokenizer("What is user the")["input_ids"], tokenizer) == 2
    assert harness_cut([], tokenizer) is None
