"""Whether peaks fall on their own paragraph: neurons that follow a known paragraph's TD error."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.statistics.ranks import spearman
from workflow_scripts.lib.trajectories.peaks import COLUMNS, NOBODY, peak_rows

HOW = Resampling(confidence=0.95, resamples=300, seed=0)
PARAGRAPHS = 6


def scores(n: int, shift: int, noise: float = 0.2, n_random: int = 4, kept: float = 0.0) -> pl.DataFrame:
    """Responses whose two dopamine neurons follow the TD error `shift` paragraphs later, and random neurons.

    Paragraphs with a TD error of more than `kept` are kept.
    """
    rng, rows = np.random.default_rng(0), []
    for i in range(n):
        deltas = rng.normal(size=PARAGRAPHS)
        for neuron in range(2 + n_random):
            signal = np.roll(deltas, -shift) if neuron < 2 else np.zeros(PARAGRAPHS)
            row = {"model": "grpo", "dataset": "ledger", "layer": 3, "kind": "dopamine" if neuron < 2 else "random"}
            row |= {"neuron": neuron, "rank": 1, "problem_id": f"p-{i:03d}", "sample": 0, "deltas": deltas.tolist()}
            means = (signal + noise * rng.normal(size=PARAGRAPHS)).tolist()
            rows.append(row | {"kept": (np.abs(deltas) > kept).tolist(), "means": means})
    return pl.DataFrame(rows)


def found(frame: pl.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows by kind of neuron and neighbour."""
    rows = peak_rows("trajectories", frame, HOW)
    assert all(set(row) <= set(COLUMNS) for row in rows)
    return {(row["kind"], row["neighbour"]): row for row in rows}  # type: ignore[misc]


def test_peaks_on_their_own_paragraph_are_told_from_both_neighbours() -> None:
    rows = found(scores(40, 0))
    for neighbour in ("previous", "next"):
        row = rows["dopamine", neighbour]
        assert (row["n"], row["n_problems"], row["reason"]) == (40 * (PARAGRAPHS - 2), 40, None)
        assert row["spearman"] > 0.9 and abs(row["spearman_neighbour"]) < 0.25
        assert row["difference"] == pytest.approx(row["spearman"] - row["spearman_neighbour"])
        assert 0.5 < row["ci_low"] < row["difference"] < row["ci_high"]
        random = rows["random", neighbour]
        assert random["ci_low"] < 0 < random["ci_high"]
        gap = rows["difference", neighbour]
        assert gap["difference"] == pytest.approx(row["difference"] - random["difference"]) and gap["ci_low"] > 0.3


@pytest.mark.parametrize(("shift", "beside", "apart"), [(1, "next", "previous"), (-1, "previous", "next")])
def test_peaks_on_a_neighbour_are_found_there(shift: int, beside: str, apart: str) -> None:
    rows = found(scores(40, shift))
    row = rows["dopamine", beside]
    assert row["spearman_neighbour"] > 0.9 and row["ci_high"] < -0.5
    assert rows["dopamine", apart]["ci_low"] < 0.25


def test_the_correlations_are_those_of_the_paragraphs_between_two_others() -> None:
    frame = scores(30, 0, kept=0.5).filter(pl.col("neuron") == 0)
    own, before, after, means = [], [], [], []
    for row in frame.to_dicts():
        for k in range(1, PARAGRAPHS - 1):  # the first and the last have one neighbour only
            if row["kept"][k]:
                own.append(row["deltas"][k])
                before.append(row["deltas"][k - 1])
                after.append(row["deltas"][k + 1])
                means.append(row["means"][k])
    rows = found(frame)
    for neighbour, values in (("previous", before), ("next", after)):
        row = rows["dopamine", neighbour]
        assert row["n"] == len(own) < 30 * (PARAGRAPHS - 2)
        assert row["spearman"] == pytest.approx(float(spearman(np.array(means), np.array(own))), abs=1e-3)
        assert row["spearman_neighbour"] == pytest.approx(float(spearman(np.array(means), np.array(values))), abs=1e-3)
        assert rows["random", neighbour] | {"reason": NOBODY, "n": 0} == rows["random", neighbour]


def test_rows_in_another_order_give_the_same_numbers() -> None:
    frame = scores(25, 0)
    mixed = frame.sample(fraction=1, shuffle=True, seed=1)
    assert found(mixed)["difference", "next"] == pytest.approx(found(frame)["difference", "next"])


def test_what_cannot_be_decided_says_why() -> None:
    short = scores(30, 0).with_columns(pl.col("deltas", "kept", "means").list.head(2))
    assert {row["reason"] for row in found(short).values()} == {NOBODY}
    few = found(scores(5, 0))["dopamine", "next"]
    assert few["reason"] == "Problems in the smallest data set: 5; a verdict needs 20."
    one = found(scores(30, 0, n_random=1))["difference", "next"]
    assert one["ci_low"] is None and one["reason"].startswith("Only 1 of what was drawn at random")
    assert peak_rows("trajectories", pl.DataFrame(), HOW) == []
