"""Losses of the value probe against numbers worked out by hand."""

import numpy as np
import pytest
import torch

from workflow_scripts.lib.probes.targets import Target, lambda_returns, loss

# Two responses: three states (V = 0.5, 0.25, 0.75; r = 1) and two (V = 0.5, 0.125; r = 0); gamma = 0.5.
VALUES = [0.5, 0.25, 0.75, 0.5, 0.125]
REWARDS = [1.0, 1.0, 1.0, 0.0, 0.0]
LAST = [False, False, True, False, True]
GAMMA = 0.5


def example(**target: object) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of the example and its gradient in V."""
    values = torch.tensor([VALUES], dtype=torch.float64, requires_grad=True)
    rewards = torch.tensor([REWARDS], dtype=torch.float64)
    result = loss(values, rewards, torch.tensor(LAST), Target(gamma=GAMMA, **target))  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(result.sum(), values)
    return result.detach(), gradient


# delta = .5*.25-.5 = -.375;  .5*.75-.25 = .125;  1-.75 = .25;  .5*.125-.5 = -.4375;  0-.125 = -.125
# delta^2 = .140625, .015625, .0625, .19140625, .015625; sum .42578125; mean over 5 states .08515625
TD_LOSS = 0.08515625


def test_td_loss_by_hand():
    assert example(name="td")[0].tolist() == [TD_LOSS]
    assert example(name="td", gradient="residual")[0].tolist() == [TD_LOSS]


def test_semi_gradient_holds_the_next_value_constant():
    # d/dV_t = -2 delta_t / 5
    assert example(name="td")[1].tolist()[0] == pytest.approx([0.15, -0.05, -0.1, 0.175, 0.05])


def test_residual_gradient_goes_through_both_values():
    # d/dV_t = (-2 delta_t + 2 gamma delta_{t-1}) / 5, nothing from delta_{t-1} at the first state of a response:
    # .75/5; (-.25 - .375)/5; (-.5 + .125)/5; .875/5; (.25 - .4375)/5
    assert example(name="td", gradient="residual")[1].tolist()[0] == pytest.approx(
        [0.15, -0.125, -0.075, 0.175, -0.0375]
    )


def test_residual_gradient_equals_finite_differences():
    values = torch.tensor([VALUES], dtype=torch.float64)
    rewards, last = torch.tensor([REWARDS], dtype=torch.float64), torch.tensor(LAST)
    target = Target("td", "residual", gamma=GAMMA)
    step = 1e-6
    numeric = [
        (loss(values + step * unit, rewards, last, target) - loss(values - step * unit, rewards, last, target)).item()
        / (2 * step)
        for unit in torch.eye(5, dtype=torch.float64)
    ]
    assert example(name="td", gradient="residual")[1].tolist()[0] == pytest.approx(numeric, abs=1e-9)


def test_semi_gradient_equals_finite_differences_with_a_frozen_target():
    values, step = np.array(VALUES), 1e-6
    frozen = np.array([GAMMA * 0.25, GAMMA * 0.75, 1.0, GAMMA * 0.125, 0.0])
    numeric = [
        (np.mean((frozen - values - step * unit) ** 2) - np.mean((frozen - values + step * unit) ** 2)) / (2 * step)
        for unit in np.eye(5)
    ]
    assert example(name="td")[1].tolist()[0] == pytest.approx(numeric, abs=1e-9)


def test_lambda_returns_by_hand():
    # lambda = .5: G_2 = 1; G_1 = .5(.5*.75 + .5*1) = .4375; G_0 = .5(.5*.25 + .5*.4375) = .171875
    #              second: G_1 = 0; G_0 = .5(.5*.125 + 0) = .03125
    returns = lambda_returns(torch.tensor([VALUES]), torch.tensor([REWARDS]), torch.tensor(LAST), GAMMA, 0.5)
    assert returns.tolist() == [[0.171875, 0.4375, 1.0, 0.03125, 0.0]]
    # errors -.328125, .1875, .25, -.46875, -.125; squares sum .1076660156 + .03515625 + .0625 + .2197265625 + .015625
    result, gradient = example(name="td_lambda", td_lambda=0.5)
    assert result.item() == pytest.approx(0.440673828125 / 5)
    assert gradient.tolist()[0] == pytest.approx([0.13125, -0.075, -0.1, 0.1875, 0.05])


def test_lambda_0_is_semi_gradient_td_and_lambda_1_the_discounted_reward():
    for mine, other in zip(example(name="td_lambda", td_lambda=0.0), example(name="td"), strict=True):
        assert torch.equal(mine, other)
    returns = lambda_returns(torch.tensor([VALUES]), torch.tensor([REWARDS]), torch.tensor(LAST), GAMMA, 1.0)
    assert returns.tolist() == [[0.25, 0.5, 1.0, 0.0, 0.0]]


def test_lambda_returns_equal_the_recursion_on_long_responses():
    rng = np.random.default_rng(0)
    lengths = [1, 2, 77, 300, 1, 64]
    last = np.zeros(sum(lengths), dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    values = rng.random((3, len(last)))
    rewards = np.repeat(rng.integers(0, 2, (3, len(lengths))), lengths, axis=1).astype(float)
    expected = np.empty_like(values)
    for t in reversed(range(len(last))):
        ahead = 0.0 if last[t] else 0.999 * (0.1 * values[:, t + 1] + 0.9 * expected[:, t + 1])
        expected[:, t] = np.where(last[t], rewards[:, t], ahead)
    v, r, ends = (torch.from_numpy(array) for array in (values, rewards, last))
    returns = lambda_returns(v, r, ends, 0.999, 0.9)
    np.testing.assert_allclose(returns.numpy(), expected, atol=1e-12)


def test_monte_carlo_target_is_the_reward_at_every_state():
    # errors .5, .75, .25, -.5, -.125; squares .25 + .5625 + .0625 + .25 + .015625 = 1.140625
    result, gradient = example(name="mc")
    assert result.item() == pytest.approx(1.140625 / 5)
    assert gradient.tolist()[0] == pytest.approx([-0.2, -0.3, -0.1, 0.2, 0.05])


def test_final_target_counts_the_last_states_alone():
    # errors .25 and -.125 over the two last states: (.0625 + .015625) / 2
    result, gradient = example(name="final")
    assert result.item() == pytest.approx(0.0390625)
    assert gradient.tolist()[0] == pytest.approx([0, 0, -0.25, 0, 0.125])


def test_each_probe_has_its_own_loss():
    values = torch.tensor([VALUES, [0.0] * 5])
    rewards = torch.tensor([REWARDS, [0.0] * 5])
    assert loss(values, rewards, torch.tensor(LAST), Target("td", gamma=GAMMA)).tolist() == [
        pytest.approx(TD_LOSS),
        0.0,
    ]


@pytest.mark.parametrize("wrong", [{"name": "sarsa"}, {"gradient": "full"}])
def test_unknown_names_are_refused(wrong):
    with pytest.raises(ValueError, match="is none of"):
        Target(**wrong)
