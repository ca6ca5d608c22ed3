"""Normalisation of hidden states against the equations written out, and what each kind of it may see."""

import pytest
import torch

from workflow_scripts.lib.probes import features


def states(n_tokens: int = 9, width: int = 5, seed: int = 0) -> torch.Tensor:
    """s_0..s_T whose neurons have very different scales; neuron 3 never varies, neuron 4 is huge and hardly varies."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.tensor([1.0, 100.0, 0.01, 0.0, 0.5])
    return torch.randn(n_tokens + 1, width, generator=generator) * scales + torch.tensor([0.0, 3.0, -1.0, 7.3, 1e4])


def test_response_is_equation_12_to_14():
    h = states()
    tokens = h[1:].double()
    deviation = ((tokens - tokens.mean(0)) ** 2).mean(0).sqrt()
    expected = (tokens - tokens.mean(0)) / torch.where(deviation > 0, deviation, 1)
    found = features.zscore_response(h)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=1e-5)
    means = features.paragraph_means(found, [0, 4, 9])
    torch.testing.assert_close(
        means.double(), torch.stack([expected[:4].mean(0), expected[4:].mean(0)]), atol=1e-5, rtol=0
    )


def test_response_leaves_the_prompt_out():
    h = states()
    other = h.clone()
    other[0] = 1e6
    assert torch.equal(features.zscore_response(h), features.zscore_response(other))


def test_causal_is_the_score_within_what_came_so_far():
    h = states()
    found = features.zscore_causal(h)
    for t in range(1, len(h)):
        past = h[: t + 1].double()
        deviation = past.std(0, correction=0)
        expected = (past[t] - past.mean(0)) / torch.where(deviation > 1e-9, deviation, torch.inf)
        torch.testing.assert_close(found[t - 1].double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("changed", range(1, 10))
def test_causal_does_not_see_later_tokens(changed):
    h = states()
    other = h.clone()
    other[changed:] = states(seed=1)[changed:] * 1e3
    before, after = features.zscore_causal(h), features.zscore_causal(other)
    assert torch.equal(before[: changed - 1], after[: changed - 1])
    assert not torch.equal(before[changed - 1 :], after[changed - 1 :])


def test_response_does_see_later_tokens():
    h = states()
    other = h.clone()
    other[-1] += 10
    assert not torch.equal(features.zscore_response(h)[0], features.zscore_response(other)[0])


@pytest.mark.parametrize("constant", [0.1, 7.3, -1e4 / 3])
@pytest.mark.parametrize("kind", [features.zscore_response, features.zscore_causal])
def test_a_neuron_that_does_not_vary_is_zero(kind, constant):
    h = torch.full((40, 2), constant)
    h[:, 1] += torch.arange(40)
    assert torch.equal(kind(h)[:, 0], torch.zeros(39))
    assert (kind(h)[:, 1] != 0).any()


def test_a_neuron_that_stops_varying_is_not_rounded_into_noise():
    """Constant from s_1 on, far from s_0: over the response it is 0, and its causal scores fall smoothly."""
    h = torch.full((60, 1), 1e4)
    h[0] = 0.1
    assert torch.equal(features.zscore_response(h), torch.zeros(59, 1))
    expected = torch.arange(1.0, 60.0).rsqrt()[:, None]  # (1 - t/(t+1)) / (sqrt t / (t+1))
    torch.testing.assert_close(features.zscore_causal(h), expected, atol=1e-6, rtol=1e-5)


def test_calibrated_uses_the_moments_of_other_responses():
    others = [states(seed=2), states(n_tokens=3, seed=3)]
    mean, deviation = features.moments(others)
    together = torch.cat(others).double()
    torch.testing.assert_close(mean, together.mean(0))
    torch.testing.assert_close(deviation, together.std(0, correction=0))
    h = states()
    found = features.zscore_calibrated(h, mean, deviation)
    assert torch.equal(found[:, 3], torch.zeros(9))
    expected = (h[1:].double() - mean) / deviation
    torch.testing.assert_close(found[:, :3].double(), expected[:, :3], atol=1e-5, rtol=1e-5)


def test_half_precision_states_are_normalised_in_double():
    h = states().half()
    for kind in (features.zscore_response, features.zscore_causal):
        assert torch.equal(kind(h), kind(h.double()))


def test_a_response_without_tokens_gives_nothing():
    for kind in (features.zscore_response, features.zscore_causal):
        assert kind(states(0)).shape == (0, 5)
        assert features.paragraph_means(kind(states(0)), [0]).shape == (0, 5)
