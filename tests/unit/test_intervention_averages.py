"""The rows of averages of Tables 2 and 5, on rewards whose averages and intervals are known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from workflow_scripts.lib.neurons.conditions import Kind, kind_table
from workflow_scripts.lib.neurons.intervention_averages import average_rows
from workflow_scripts.lib.statistics.estimands import Size
from workflow_scripts.lib.statistics.intervals import Resampling, wilson
from workflow_scripts.lib.statistics.joint_intervals import paired_interval

HOW = Resampling(confidence=0.95, resamples=4000, seed=0)
UNMASKED = np.repeat([1.0, 0.0], [60, 40])
HURT = np.repeat([1.0, 0.0], [30, 70])  # of 60 solved problems, 30 are lost


def scores(rewards: Sequence[np.ndarray], selection: str = "value", **names: Any) -> pl.DataFrame:
    """Responses under one selection, at the layers 2, 3, ... (of a random one, draws at layer 2)."""
    frames = []
    for place, reward in enumerate(rewards):
        layer, draw = (2, place) if selection == "random" else (2 + place, 0)
        named = {"model": "grpo", "dataset": "ledger", "layer": layer, "selection": selection, "draw": draw} | names
        fixed = {"share": 0.01, "mode": "zero", "factor": 0.0, "n_neurons": 2, "sample": 0}
        frame = pl.DataFrame({"problem_id": [f"p-{i:03d}" for i in range(len(reward))], "reward": reward})
        twin: dict[str, Any] = {"unmasked": UNMASKED, "truncated": reward < 1, "tokens": [5] * len(reward)}
        twin |= {"unmasked_truncated": UNMASKED < 1, "unmasked_tokens": [4] * len(reward)}
        literals = {name: pl.lit(value) for name, value in (named | fixed).items()}
        frames.append(frame.with_columns(**literals, **{name: pl.Series(values) for name, values in twin.items()}))
    return pl.concat(frames)


def averages(frame: pl.DataFrame) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of averages by model and selection."""
    kinds = [Kind(name, 0.01, "zero") for name in ("value", "random")]
    found = average_rows("masks", frame, kind_table([2, 3, 4, 5], kinds), HOW)
    assert not {"layer", "draw", "p_value"} & set(found.columns)
    return {(row["model"], row["selection"]): row for row in found.to_dicts()}


def test_layers_that_agree_are_no_more_certain_than_one() -> None:
    one, four = (averages(scores([HURT] * n))["grpo", "value"] for n in (1, 4))
    assert four == one
    closed = paired_interval(HURT - UNMASKED, Size(100, 40))
    assert one["change"] == pytest.approx(-0.3)
    assert (one["change_low"], one["change_high"]) == pytest.approx((closed.low, closed.high), abs=0.01)


def test_a_layer_without_an_effect_counts() -> None:
    rows = averages(scores([HURT, UNMASKED, UNMASKED, UNMASKED]))
    row = rows["grpo", "value"]
    assert (row["change"], row["accuracy"]) == pytest.approx((-0.3 / 4, (0.3 + 3 * 0.6) / 4))
    alone = averages(scores([HURT]))["grpo", "value"]
    # Of 102 problems, 30 changed by -1/4 (alone: by -1), 70 not at all, and two pseudo-problems by +1 and -1.
    wide, narrow = (np.sqrt((30 * x**2 + 2) / 102 - (30 * x / 102) ** 2) for x in (1, 1 / 4))
    widths = [one["change_high"] - one["change_low"] for one in (row, alone)]
    assert widths[0] / widths[1] == pytest.approx(narrow / wide, rel=0.05)
    assert row["ci_low"] < row["accuracy"] < row["ci_high"]


def test_the_unmasked_row_is_that_of_the_twins() -> None:
    row = averages(scores([HURT, UNMASKED]))["grpo", "none"]
    assert (row["accuracy"], row["change"], row["n"], row["n_neurons"]) == (0.6, 0.0, 100, 0)
    assert (row["truncated"], row["mean_tokens"]) == (0.4, 4.0)
    low, high = wilson(60, 100)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((float(low), float(high)), abs=0.006)


def test_draws_that_differ_widen_the_interval_and_two_give_none() -> None:
    worse = np.repeat([1.0, 0.0], [10, 90])
    alike, apart = (averages(scores(draws, "random"))["grpo", "random"] for draws in ([HURT] * 3, [HURT, worse, worse]))
    assert apart["change"] == pytest.approx((-0.3 - 0.5 - 0.5) / 3)
    assert apart["change_high"] - apart["change_low"] > 1.5 * (alike["change_high"] - alike["change_low"])
    two = averages(scores([HURT, worse], "random"))["grpo", "random"]
    assert two["change_low"] is None and two["ci_low"] is None and "Only 2 of what was drawn" in two["reason"]


def test_runs_count_alike_and_share_the_problems_of_a_data_set() -> None:
    frames = [scores([HURT]), scores([UNMASKED], model="ppo"), scores([HURT], dataset="locks")]
    rows = averages(pl.concat(frames))
    assert ("all", "value") not in averages(frames[0])
    row = rows["all", "value"]
    assert (row["dataset"], row["n"], row["change"]) == ("all", 200, pytest.approx(-0.2))


@pytest.mark.parametrize("solved", [0, 1, 3, 99, 100])
def test_an_accuracy_near_nothing_or_all_has_wilsons_interval(solved: int) -> None:
    rewards = (np.arange(100) < solved).astype(float)
    row = averages(scores([rewards, rewards]))["grpo", "value"]
    low, high = wilson(solved, 100)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((float(low), float(high)), abs=0.005)
