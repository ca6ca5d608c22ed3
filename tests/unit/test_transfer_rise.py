"""Whether overlap rises towards a prune ratio of 1: sets that are known at both ratios, with their jackknife."""

from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import t

from workflow_scripts.compare_neurons import PAIRS
from workflow_scripts.lib.neurons.overlap import random_iou
from workflow_scripts.lib.neurons.transfer_rise import COLUMNS, rise_rows
from workflow_scripts.lib.storage.result_tables import with_columns

D = 1000
KEPT = {0.5: 500, 0.9: 100, 0.99: 10}
CHANCE = {ratio: random_iou(D, k, 0.95)[0] for ratio, k in KEPT.items()}


def pairs(
    overlap: dict[float, Any], seeds: tuple[int, ...] = (0, 1, 2), others: tuple[int, ...] | None = None
) -> pl.DataFrame:
    """Pairs of probes; the overlap at each ratio is a number or a matrix of the seeds of both runs."""
    rows: list[dict[str, object]] = []
    for ratio, iou in overlap.items():
        matrix = np.broadcast_to(iou, (len(seeds), len(others or seeds)))
        for (i, a), (j, b) in product(enumerate(seeds), enumerate(others or seeds)):
            names: dict[str, object] = {
                "across": "data sets",
                "model_a": "grpo",
                "dataset_a": "ledger",
                "model_b": "grpo",
            }
            names |= {"dataset_b": "locks", "kind": "value", "layer": 2, "d": D}
            numbers = {"prune_ratio": ratio, "n_kept": KEPT[ratio], "expected": CHANCE[ratio]}
            rows.append(names | numbers | {"seed_a": a, "seed_b": b, "iou": float(matrix[i, j])})
    return with_columns(rows, PAIRS)


def only_row(frame: pl.DataFrame) -> dict[str, Any]:
    (row,) = rise_rows(frame, 0.95)
    assert set(row) == set(COLUMNS)
    return row


def test_a_rise_by_hand() -> None:
    """Pairs of different seeds share more by 0.1, 0.2 or 0.3; one seed with itself does not count."""
    rise = np.array([[9, 0.1, 0.2], [0.1, 9, 0.3], [0.2, 0.3, 9]])
    row = only_row(pairs({0.5: 0.4, 0.9: 0.3, 0.99: 0.3 + rise}))
    gap = 0.2 - (CHANCE[0.99] - CHANCE[0.9])
    assert (row["iou_from"], row["iou_to"], row["difference"]) == pytest.approx((0.3, 0.5, gap))
    assert row["above_to"] - row["above_from"] == pytest.approx(gap) and row["above_from"] < row["iou_from"]
    # Without one seed, a single pair is left: 0.3, 0.2, 0.1. The jackknife's variance is 2/3 of 0.01 + 0 + 0.01.
    half = t.ppf(0.975, 2) * np.sqrt(2 / 3 * 0.02)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((gap - half, gap + half))
    assert (row["n_seeds"], row["reason"], row["from_ratio"], row["to_ratio"]) == (3, None, 0.9, 0.99)


def test_the_same_overlap_is_a_rise_above_chance_because_chance_falls() -> None:
    row = only_row(pairs({0.9: 0.3, 0.99: 0.3}))
    assert row["iou_to"] == row["iou_from"] and row["difference"] == pytest.approx(CHANCE[0.9] - CHANCE[0.99])
    assert row["ci_low"] < row["difference"] < row["ci_high"]  # seeds that agree leave the neurons that were kept


def test_sets_drawn_at_random_do_not_rise() -> None:
    rng, inside = np.random.default_rng(0), 0
    for _ in range(100):
        tops = [[np.argsort(rng.random(D)) for _ in range(5)] for _ in range(2)]
        overlap = {}
        for ratio in (0.9, 0.99):
            shared = [[len(np.intersect1d(a[: KEPT[ratio]], b[: KEPT[ratio]])) for b in tops[1]] for a in tops[0]]
            overlap[ratio] = np.array(shared) / (2 * KEPT[ratio] - np.array(shared))
        row = only_row(pairs(overlap, (0, 1, 2, 3, 4)))
        inside += row["ci_low"] <= 0 <= row["ci_high"]
    assert 85 <= inside <= 100


@pytest.mark.parametrize(
    ("seeds", "others", "n", "known"),
    [((0, 1), (0, 1), 2, True), ((0,), (0,), 1, False), ((0, 1, 2), (3, 4, 5), 0, False)],
)
def test_few_common_seeds_give_no_interval(
    seeds: tuple[int, ...], others: tuple[int, ...], n: int, known: bool
) -> None:
    row = only_row(pairs({0.9: 0.3, 0.99: 0.5}, seeds, others))
    assert (row["difference"] is not None, row["iou_to"] is not None, row["ci_low"]) == (known, known, None)
    assert row["reason"] == f"Only {n} seeds; how much seeds differ needs 3."


def test_a_study_without_both_ratios_has_no_row() -> None:
    assert rise_rows(pairs({0.5: 0.4, 0.9: 0.3}), 0.95) == [] == rise_rows(with_columns([], PAIRS), 0.95)
