"""Noise of floating-point arithmetic ranks no predictions."""

import numpy as np

from workflow_scripts.lib.statistics.ranks import auc, round_ties


def test_nearly_equal_predictions_are_equal_wherever_the_grid_lies() -> None:
    rng = np.random.default_rng(0)
    centres = rng.uniform(0.5, 1.0, 5000)[:, None]
    rows = centres + rng.uniform(-1e-4, 1e-4, (5000, 20))
    assert (np.ptp(round_ties(rows), axis=-1) == 0).all()
    assert (np.ptp(round_ties(-rows), axis=-1) == 0).all()


def test_predictions_that_differ_keep_their_order() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(200, 300))
    found = round_ties(rows)
    assert np.abs(found - rows).max() < 2e-4 * np.abs(rows).max()
    labels = rng.integers(0, 2, 300)
    np.testing.assert_allclose(auc(found, labels), auc(rows, labels), atol=1e-3)


def test_noise_moves_an_auc_by_little() -> None:
    rng = np.random.default_rng(2)
    spread = np.geomspace(1e-7, 1, 4000)[:, None]
    rows = 1 + spread * rng.uniform(-1, 1, (4000, 20))
    noisy = rows + rng.uniform(-3e-8, 3e-8, rows.shape)
    labels = np.arange(20) % 2
    assert np.abs(auc(round_ties(rows), labels) - auc(round_ties(noisy), labels)).max() <= 0.02


def test_nothing_and_missing_values_pass() -> None:
    assert round_ties(np.empty((3, 0))).shape == (3, 0)
    assert np.isnan(round_ties(np.array([[1.0, np.nan]]))).any()
