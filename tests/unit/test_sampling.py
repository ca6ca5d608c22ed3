"""The nucleus and the draw from it, against the definition."""

import numpy as np
import pytest
import torch

from workflow_scripts.lib.engines.interface import Sampling
from workflow_scripts.lib.engines.sampling import BLOCK, Uniforms, nucleus_sample, sample
from workflow_scripts.lib.seeds import generator

CPU = torch.device("cpu")


def by_definition(logits: np.ndarray, number: float, top_p: float) -> int:
    """The smallest set of most likely tokens with mass >= top_p, its inverse CDF at `number`; in float64."""
    probabilities = np.exp(logits - logits.max())
    probabilities /= probabilities.sum()
    order = np.argsort(-probabilities, kind="stable")
    mass = np.cumsum(probabilities[order])
    size = min(int(np.searchsorted(mass, top_p)) + 1, len(mass))
    place = int(np.searchsorted(mass[:size], number * mass[size - 1], side="right"))
    return int(order[min(place, size - 1)])


@pytest.mark.parametrize("top_p", [0.01, 0.5, 0.95, 0.999, 1.0])
@pytest.mark.parametrize("vocabulary", [3, 129, 500, 20_000])
@pytest.mark.parametrize("spread", [0.2, 3.0])
def test_nucleus_sample_equals_the_definition(top_p: float, vocabulary: int, spread: float) -> None:
    rng = np.random.default_rng(0)
    logits = (spread * rng.normal(size=(200, vocabulary))).astype(np.float32)
    numbers = rng.random(200)
    found = nucleus_sample(torch.from_numpy(logits), torch.from_numpy(numbers), top_p)
    expected = [by_definition(row.astype(float), u, top_p) for row, u in zip(logits, numbers, strict=True)]
    # one in a thousand may fall on a rounding edge of float32 where the vocabulary is large and flat
    assert (found.numpy() == expected).mean() >= (1.0 if vocabulary <= 500 else 0.98)


def test_only_the_nucleus_is_drawn_and_in_proportion() -> None:
    probabilities = torch.tensor([0.05, 0.5, 0.3, 0.15])
    numbers = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    tokens = nucleus_sample(probabilities.log().repeat(10_000, 1), numbers, 0.7)
    shares = torch.bincount(tokens, minlength=4) / 10_000
    torch.testing.assert_close(shares, torch.tensor([0, 0.625, 0.375, 0]), atol=2e-4, rtol=0)


def test_log_probability_is_the_one_before_temperature() -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0))
    numbers = torch.rand(50, generator=torch.Generator().manual_seed(1))
    tokens, logprobs = sample(logits, numbers, Sampling(0.5, 0.9, 1))
    torch.testing.assert_close(logprobs, logits.log_softmax(-1).gather(-1, tokens[:, None])[:, 0])
    assert torch.equal(tokens, nucleus_sample(logits / 0.5, numbers, 0.9))
    assert not torch.equal(tokens, nucleus_sample(logits, numbers, 0.9))
    assert torch.equal(sample(logits, numbers, Sampling(0.0, 1.0, 1))[0], logits.argmax(-1))


def test_uniforms_are_those_of_each_rows_stream_across_blocks_and_selection() -> None:
    keys = ["a", "b", "c"]
    uniforms = Uniforms(7, keys, CPU)
    seen = [uniforms.next() for _ in range(BLOCK // 2)]
    uniforms.select([2, 0])
    seen += [uniforms.next() for _ in range(BLOCK)]
    expected = {key: generator(7, key).random(BLOCK + BLOCK // 2) for key in keys}
    for step, row in enumerate(seen):
        held = keys if step < BLOCK // 2 else ["c", "a"]
        assert row.tolist() == [expected[key][step] for key in held]
