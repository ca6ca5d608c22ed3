"""Checks with a known answer (method, section 13): planted neurons, and a Markov chain with a known value function."""

import numpy as np
import pytest
import torch

from workflow_scripts.lib.probes.perceptrons import Probes, importance, outputs, ranking, specs_of
from workflow_scripts.lib.probes.pruning import curve, kept_inputs
from workflow_scripts.lib.probes.targets import Target, loss
from workflow_scripts.lib.probes.training import Training, Units, train
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.statistics.ranks import auc

D, PLANTED = 60, [3, 11, 17, 29, 42, 55]


def fit(units: Units, target: Target, training: Training, shuffled: tuple[int, ...] = ()) -> Probes:
    """Probes of layer 1 with seeds 0 and 1."""

    def of(f, labels, last):
        return loss(f.sigmoid(), labels, last, target)

    return train(units, specs_of([1], [0, 1], shuffled), training, of, Progress(10**9, "steps", "test", every=1e9))


def planted(n: int, seed: int) -> Units:
    """Responses whose reward shows in six coordinates; the others are noise. Scales of both reach from 0.01 to 100."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 9, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rewards = rng.integers(0, 2, n).astype(float)
    states = rng.normal(size=(offsets[-1], D))
    states[:, PLANTED] += 0.9 * (2 * np.repeat(rewards, lengths) - 1)[:, None]
    scales = 10 ** np.random.default_rng(1).uniform(-2, 2, D)
    scales[PLANTED] = np.geomspace(0.01, 100, len(PLANTED))
    return Units({1: torch.from_numpy(states * scales).float()}, offsets, rewards)


def planted_probes(scaling: str) -> Probes:
    training = Training(32, 15, 16, 3e-3, 0.01, scaling)
    return fit(planted(500, 0), Target("td_lambda", td_lambda=0.9), training, shuffled=(0, 1, 2, 3))


@pytest.fixture(scope="module")
def zscored() -> Probes:
    return planted_probes("zscore")


def initial_auc(probes: Probes, ratio: float) -> np.ndarray:
    """AUC at s_0 of unseen responses, for each probe."""
    test = planted(400, 99)
    return auc(curve(probes, test.layers[1][test.offsets[:-1]], ranking(probes), [ratio])[0], test.labels)


def recovered(probes: Probes) -> list[int]:
    """How many of the planted coordinates are among each probe's most important ones."""
    return [len(set(order[: len(PLANTED)].tolist()) & set(PLANTED)) for order in ranking(probes)]


def test_planted_neurons_are_recovered(zscored):
    assert recovered(zscored.of(labels="true")) == [6, 6]


def test_pruning_to_the_planted_neurons_keeps_the_auc(zscored):
    true = zscored.of(labels="true")
    assert sorted(kept_inputs(ranking(true)[0], 0.9).tolist()) == PLANTED
    assert (initial_auc(true, 0.0) > 0.9).all()
    assert (initial_auc(true, 0.9) > 0.95).all()  # the noise inputs are gone, so it may rise


def test_shuffled_labels_show_nothing(zscored):
    shuffled = zscored.of(labels="shuffled")
    for ratio in (0.0, 0.5, 0.9):
        assert np.abs(initial_auc(shuffled, ratio).mean() - 0.5) < 0.1
    assert max(recovered(shuffled)) <= 3


def test_without_scaling_the_ranking_misses_them():
    """Why `zscore` exists: a large input needs but a small weight, so it ranks low whatever it carries."""
    assert max(recovered(planted_probes("none").of(labels="true"))) <= 4


CHAIN = 5
"""Transient states 0..4; a walk goes up with probability 0.6, ends wrong below 0 and right above 4."""
UP = 0.6
GAMMA = 1 - 1e-5


def chain_value() -> np.ndarray:
    """V of each state, from the equations V_i = gamma (0.6 V_{i+1} + 0.4 V_{i-1}), an end giving r itself.

    A response ends *in* a transient state with its reward (delta_T = r - V(h_T)), so the last step is not discounted.
    """
    step = np.zeros((CHAIN, CHAIN))
    for i in range(CHAIN - 1):
        step[i, i + 1], step[i + 1, i] = UP * GAMMA, (1 - UP) * GAMMA
    right = np.zeros(CHAIN)
    right[-1] = UP
    return np.linalg.solve(np.eye(CHAIN) - step, right)


def walks(n: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Walks from random states, as the states visited, and their rewards."""
    rng = np.random.default_rng(seed)
    paths, rewards = [], []
    for _ in range(n):
        state, path = int(rng.integers(CHAIN)), []
        while 0 <= state < CHAIN:
            path.append(state)
            state += 1 if rng.random() < UP else -1
        paths.append(np.array(path))
        rewards.append(float(state == CHAIN))
    return paths, np.array(rewards)


def encoded(paths: list[np.ndarray], rewards: np.ndarray, n_states: int) -> Units:
    """Hidden states that encode the chain's state one-hot, mixed by an invertible map."""
    mix = np.random.default_rng(5).normal(size=(n_states, n_states)) + 2 * np.eye(n_states)
    offsets = np.concatenate([[0], np.cumsum([len(path) for path in paths])])
    states = np.eye(n_states)[np.concatenate(paths)] @ mix
    return Units({1: torch.from_numpy(states).float()}, offsets, rewards)


def learnt_values(units: Units, paths: list[np.ndarray], n_states: int, target: Target, epochs: int) -> np.ndarray:
    """V of each state of the chain as the probes see it, mean over seeds."""
    probes = fit(units, target, Training(32, epochs, 64, 3e-3, 0.0, "zscore"))
    states = np.concatenate(paths)
    rows = [int(np.flatnonzero(states == i)[0]) for i in range(n_states)]
    return outputs(probes, units.layers[1][rows]).sigmoid().mean(0).numpy()


@pytest.mark.parametrize(
    "target", [Target("td"), Target("td_lambda", td_lambda=0.8), Target("mc")], ids=lambda t: t.name
)
def test_probes_converge_to_the_known_values(target):
    paths, rewards = walks(4000, 0)
    found = learnt_values(encoded(paths, rewards, CHAIN), paths, CHAIN, target, 12)
    np.testing.assert_allclose(found, chain_value(), atol=0.04)


def deterministic(n: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Walks 0-1-2 that end right and 3-4-5 that end wrong, as often: the next state follows from the state."""
    return [np.arange(3) + 3 * (i % 2) for i in range(n)], np.array([1.0 - i % 2 for i in range(n)])


def test_residual_gradient_converges_where_nothing_is_left_to_chance():
    paths, rewards = deterministic(400)
    target = Target("td", "residual", gamma=0.9)
    found = learnt_values(encoded(paths, rewards, 6), paths, 6, target, 60)
    np.testing.assert_allclose(found, [0.81, 0.9, 1.0, 0, 0, 0], atol=0.04)


def residual_fixed_point(paths: list[np.ndarray], rewards: np.ndarray) -> np.ndarray:
    """The table of values with the least mean squared TD error: linear least squares, one equation a state."""
    rows, right = [], []
    for path, reward in zip(paths, rewards, strict=True):
        for here, ahead in zip(path, [*path[1:], None], strict=True):
            row = np.zeros(CHAIN)
            row[here] += 1
            if ahead is not None:
                row[ahead] -= GAMMA
            rows.append(row)
            right.append(reward if ahead is None else 0.0)
    return np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]


def test_residual_gradient_is_biased_by_chance_as_theory_says():
    """In a chain with chance it converges, but to the minimiser of the squared TD error, not to V."""
    paths, rewards = walks(4000, 0)
    expected = residual_fixed_point(paths, rewards)
    assert np.abs(expected - chain_value()).max() > 0.06
    found = learnt_values(encoded(paths, rewards, CHAIN), paths, CHAIN, Target("td", "residual"), 12)
    np.testing.assert_allclose(found, expected, atol=0.04)


def test_importance_of_planted_neurons_stands_out(zscored):
    mine = importance(zscored.of(labels="true"))
    others = [i for i in range(D) if i not in PLANTED]
    assert (mine[:, PLANTED].min(1).values > 1.1 * mine[:, others].max(1).values).all()
