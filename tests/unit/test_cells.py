"""Cells and their average: members that some cells lack, sizes of shared problems, differences of cells."""

import numpy as np
import pytest

from workflow_scripts.lib.statistics.cells import Cell, average
from workflow_scripts.lib.statistics.estimands import SPEARMAN_DIFFERENCE, Size

RUNS = [("m", "d"), ("n", "d"), ("m", "e")]


def drawn(members: int, level: float, seed: int = 0) -> np.ndarray:
    """Members around a level, each in the data and in 200 resamples."""
    rng = np.random.default_rng(seed)
    return level + 0.01 * rng.normal(size=(members, 1)) + 0.05 * rng.normal(size=201)


def test_a_draw_that_one_cell_lacks_counts_in_none() -> None:
    whole, short = drawn(5, -0.2), drawn(4, -0.1, 1)
    cells = [Cell(RUNS[0], 2, Size(100), (whole,)), Cell(RUNS[1], 2, Size(80), (short,))]
    found = average(SPEARMAN_DIFFERENCE, cells, 0.95)
    assert found is not None and found.m == 4 and found.n == 80
    assert found.value == pytest.approx((whole[:4, 0].mean() + short[:, 0].mean()) / 2)


def test_data_sets_add_their_problems_and_models_share_them() -> None:
    sizes = [Size(100, 40), Size(90, 20), Size(50, 25)]
    cells = [Cell(run, 2, size, (drawn(3, 0.3),)) for run, size in zip(RUNS, sizes, strict=True)]
    found = average(SPEARMAN_DIFFERENCE, cells, 0.95)
    assert found is not None and (found.n, found.n_rarer) == (90 + 50, 20 + 25)
    assert average(SPEARMAN_DIFFERENCE, [], 0.95) is None


def test_a_difference_pairs_members_and_keeps_what_has_none() -> None:
    first, fixed = drawn(3, 0.7), np.full(201, 0.5)
    one, other = Cell(RUNS[0], 2, Size(50, 20), (first,), fixed), Cell(RUNS[0], 2, Size(60, 10), (first,))
    gap = one.less(other)
    assert gap.total == pytest.approx(fixed) and gap.size == Size(50, 10)
    assert one.total == pytest.approx(first.mean(0) + 0.5)
