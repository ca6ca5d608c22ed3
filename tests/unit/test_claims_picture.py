"""The picture of all claims: right of the margin is the side of the claim, whatever the direction."""

from typing import Any

import pytest

from workflow_scripts.lib.report.claims_picture import REACH, WIDTH, mark

ROW = {"key": "k", "claim": "c", "verdict": "undecided", "direction": "above", "margin": 0.55}


def row(value: float | None, low: float | None, high: float | None, **more: Any) -> dict[str, Any]:
    return ROW | {"value": value, "ci_low": low, "ci_high": high} | more


def test_an_interval_on_the_claims_side_lies_right_of_the_margin() -> None:
    above = mark(row(0.7, 0.6, 0.8))
    below = mark(row(-0.1, -0.2, -0.05, direction="below", margin=-0.02))
    for one in (above, below):
        assert one.low is not None and one.point is not None and one.high is not None
        assert WIDTH / 2 < one.low < one.point < one.high < WIDTH and one.beyond == ""
    against = mark(row(0.5, 0.45, 0.54))
    assert against.high is not None and against.high < WIDTH / 2


def test_positions_are_to_scale_and_what_lies_beyond_is_said() -> None:
    middle, end = mark(row(0.55, 0.5, 0.6)), mark(row(0.55 + REACH, 0.4, 0.99))
    assert (middle.point, end.point, end.high) == (WIDTH / 2, WIDTH, WIDTH)
    assert middle.low == pytest.approx(WIDTH / 2 * (1 - 0.05 / REACH), abs=0.1)
    assert (middle.beyond, end.beyond) == ("", "right")
    assert mark(row(0.1, 0.0, 1.0)).beyond == "left right"


def test_what_was_not_measured_has_no_mark() -> None:
    for missing, said in ((row(None, None, None), "not measured"), (row(0.5, None, None), "0.500, no interval")):
        assert mark(missing).point is None and mark(missing).measured == said
