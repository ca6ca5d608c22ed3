"""Sequential designs by exact enumeration: every way the sampling can end, with its probability at many true values."""

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np
import pytest

from workflow_scripts.lib.config.sections import Values
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.intervals import wilson
from workflow_scripts.lib.values.adaptive import Design, design_of, draw_estimates, estimates

TRUE = np.linspace(0, 1, 501)
DESIGNS = [Design(8, 64, 0.1), Design(8, 20, 0.17), Design(2, 33, 0.25), Design(16, 256, 0.05)]


def endings(design: Design) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the sampling can stop (n and right ones), and the probability of that at each of `TRUE`.

    Found without counting paths: probabilities of the open states are carried from look to look by the binomial law.
    """
    n, n_right, probability = [], [], []
    still = {0: np.ones_like(TRUE)}
    for numbers in design.rounds:
        step = len(numbers)
        chances = [comb(step, k) * TRUE**k * (1 - TRUE) ** (step - k) for k in range(step + 1)]
        reached: dict[int, np.ndarray] = {}
        for right, mass in still.items():
            for k, chance in enumerate(chances):
                reached[right + k] = reached.get(right + k, 0) + mass * chance
        still = {}
        for right, mass in reached.items():
            if design.goes_on(numbers.stop, np.array([right])).item():
                still[right] = mass
            else:
                n.append(numbers.stop)
                n_right.append(right)
                probability.append(mass)
    return np.array(n), np.array(n_right), np.array(probability)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_the_estimate_is_unbiased_and_the_plain_share_is_not(design: Design) -> None:
    n, n_right, probability = endings(design)
    value = estimates(design)[n, n_right]
    assert np.abs(probability.sum(0) - 1).max() < 1e-12
    assert np.isfinite(estimates(design)).sum() == len(n)
    assert np.abs(value @ probability - TRUE).max() < 1e-12
    assert np.abs((n_right / n) @ probability - TRUE).max() > 5e-3
    assert value.min() == 0 and value.max() == 1


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_intervals_cover_as_often_as_with_a_fixed_number(design: Design) -> None:
    def coverage(design: Design) -> np.ndarray:
        n, n_right, probability = endings(design)
        value = estimates(design)[n, n_right]
        low, high = wilson(n_right, n)
        low, high = np.minimum(low, value), np.maximum(high, value)
        inside = (low[:, None] <= TRUE + 1e-12) & (high[:, None] >= TRUE - 1e-12)
        return (probability * inside).sum(0)

    found, with_fixed = coverage(design), [coverage(Design(n, n)) for n in design.looks if n > 5]
    assert 0.951 < found.mean() < 0.957
    assert found.min() > min(one.min() for one in with_fixed) - 0.005
    assert (found > 0.92).mean() > 0.8


def test_a_small_design_by_hand() -> None:
    """Two, then a third where they differ: 2 of 3 is reached over rw-r and wr-r, so half its paths begin with r."""
    design = Design(2, 3, 0.4)
    assert design.looks == (2, 3) and design.rounds == (range(2), range(2, 3))
    assert design.goes_on(2, np.array([0, 1, 2])).tolist() == [False, True, False]
    found = estimates(design)
    assert {(n, right): found[n, right] for n, right in np.argwhere(np.isfinite(found))} == {
        (2, 0): 0.0,
        (2, 2): 1.0,
        (3, 1): 0.5,
        (3, 2): 0.5,
    }


def test_the_estimate_is_the_first_answer_averaged_over_all_orders() -> None:
    """Every sequence of twelve answers, followed until the design stops."""
    design = Design(4, 12, 0.3)
    began: dict[tuple[int, int], list[Fraction]] = {}
    for answers in product((0, 1), repeat=design.budget):
        n = next(n for n in design.looks if not design.goes_on(n, np.array([sum(answers[:n])])).item())
        weights = began.setdefault((n, sum(answers[:n])), [Fraction(0), Fraction(0)])
        weights[answers[0]] += Fraction(1, 2**12)
    found = estimates(design)
    assert len(began) == np.isfinite(found).sum() and len({n for n, _ in began}) > 2
    for place, (wrong, right) in began.items():
        assert found[place] == float(right / (wrong + right))


@pytest.mark.parametrize("n", [2, 16, 64])
def test_a_fixed_number_is_the_share_to_the_last_digit(n: int) -> None:
    design = design_of(Values({"n_continuations": n, "adaptive": None}))
    assert design.rounds == (range(n),) and not design.adaptive
    found = estimates(design)
    assert found[n].tolist() == [right / n for right in range(n + 1)]
    assert np.isnan(found[:n]).all()


def test_the_configuration_names_a_design() -> None:
    how = {"first": 8, "budget": 64, "half_width": 0.1}
    design = design_of(Values({"n_continuations": 16, "adaptive": how}))
    assert design == DESIGNS[0] and design.adaptive
    assert design.looks == (8, 12, 18, 27, 40, 60, 64)
    assert not design.goes_on(64, np.arange(65)).any()
    assert design.goes_on(8, np.arange(9)).all()  # at 0 of 8 the interval reaches to 0.32


def test_uncertain_states_get_more() -> None:
    n, _, probability = endings(DESIGNS[0])
    mean = n @ probability
    assert mean[0] == mean[-1] == 18  # Wilson's interval of 0 of 18 is less than 0.2 wide, of 0 of 12 it is not
    assert mean[250] > 55
    assert (np.diff(mean[:200]) > 0).all()


def test_paths_of_a_large_budget_are_counted_exactly() -> None:
    """A thousand continuations have more paths than a float can count."""
    design = Design(512, 1024, 0.02)
    n, n_right = np.nonzero(np.isfinite(estimates(design)))
    assert len(n) > 900
    spread = estimates(design)[n, n_right] - n_right / n
    assert 0 < np.abs(spread).max() < 0.05


def test_simulated_measurements_follow_the_design() -> None:
    design, true = Design(8, 20, 0.17), np.repeat([0.1, 0.5, 0.9], 40_000)
    drawn = draw_estimates(design, true, generator("draws")).reshape(3, -1)
    n, n_right, probability = endings(design)
    value = estimates(design)[n, n_right]
    at = probability[:, [50, 250, 450]]
    variance = (value**2) @ at - TRUE[[50, 250, 450]] ** 2
    assert drawn.mean(1) == pytest.approx([0.1, 0.5, 0.9], abs=0.004)
    assert drawn.var(1) == pytest.approx(variance, rel=0.05)
