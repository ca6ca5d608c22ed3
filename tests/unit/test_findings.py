from dataclasses import replace

import pytest

from workflow_scripts.lib.claims.curve_rules import (
    Point,
    judge_informative,
    judge_level,
    judge_selective,
    judge_stable,
    summarise,
)
from workflow_scripts.lib.claims.verdicts import CONTRADICTED, NOT_JUDGED, SUPPORTED, UNDECIDED, Finding
from workflow_scripts.lib.formatting import number

RATIOS = (0.0, 0.5, 0.9, 0.96, 0.99)


def curve(
    values: list[float | None], half: float = 0.05, random: float = 0.6, shuffled: float | None = 0.5
) -> list[Point]:
    return [
        Point(
            prune_ratio=ratio,
            value=value,
            ci_low=None if value is None else value - half,
            ci_high=None if value is None else value + half,
            random_mean=random,
            random_high=random + 0.03,
            shuffled=shuffled,
            reason="all responses are correct" if value is None else None,
        )
        for ratio, value in zip(RATIOS, values, strict=True)
    ]


@pytest.mark.parametrize(
    ("value", "shuffled", "verdict"),
    [
        (0.70, 0.50, SUPPORTED),
        (0.54, 0.50, UNDECIDED),
        (0.40, 0.50, CONTRADICTED),
        (0.70, 0.66, UNDECIDED),  # above chance, but not above the probe trained on shuffled labels
        (0.70, 0.75, CONTRADICTED),
        (0.56, 0.30, SUPPORTED),  # a low shuffled value does not lower the bar below chance
        (0.56, None, SUPPORTED),
    ],
)
def test_better_than_chance_is_read_off_the_interval(value: float, shuffled: float | None, verdict: str) -> None:
    assert judge_informative(curve([value] * 5, shuffled=shuffled), 0.5).verdict == verdict


def test_the_limits_of_the_bar_itself() -> None:
    point = Point(0.0, 0.55, 0.5, 0.6)
    assert judge_informative([point], 0.5).verdict == UNDECIDED
    assert judge_informative([replace(point, ci_low=0.45, ci_high=0.5)], 0.5).verdict == CONTRADICTED


def test_the_evidence_holds_the_numbers() -> None:
    evidence = judge_informative(curve([0.7] * 5), 0.5).evidence
    assert evidence == "0.70 [0.65, 0.75] with all inputs; chance 0.50, shuffled labels 0.50"


def test_dopamine_curves_are_held_against_zero() -> None:
    points = curve([0.2] * 5, shuffled=-0.03)
    assert judge_informative(points, 0.0).verdict == SUPPORTED
    assert judge_informative(points, 0.5).verdict == CONTRADICTED
    assert "\N{MINUS SIGN}0.03" in judge_informative(points, 0.0).evidence


def test_data_with_one_class_are_not_judged_and_the_reason_is_given() -> None:
    points = curve([None] * 5)
    for judge in (judge_informative, judge_stable, judge_selective):
        assert judge(points, 0.5) == Finding(NOT_JUDGED, "all responses are correct")
    assert judge_level(points, 0.8).verdict == NOT_JUDGED


def test_a_value_without_an_interval_is_not_judged() -> None:
    bare = [replace(point, ci_low=None, ci_high=None) for point in curve([0.9] * 5)]
    assert judge_informative(bare, 0.5).verdict == NOT_JUDGED


def test_no_curve_at_all_is_not_judged() -> None:
    for judge in (judge_informative, judge_stable, judge_selective):
        assert judge([], 0.5).verdict == NOT_JUDGED
    assert judge_informative(curve([0.7] * 5)[1:], 0.5).evidence == "prune ratio 0 (all inputs kept) was not run"


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.70, 0.70, 0.70, 0.69, 0.68], SUPPORTED),
        ([0.70, 0.72, 0.75, 0.78, 0.80], SUPPORTED),  # rising is no fall
        ([0.70, 0.70, 0.68, 0.64, 0.62], UNDECIDED),  # the mean leaves the interval, the intervals overlap
        ([0.80, 0.80, 0.80, 0.75, 0.60], CONTRADICTED),
        ([0.80, 0.80, 0.60, 0.80, 0.80], CONTRADICTED),  # a dip in between counts
        ([0.58, 0.57, 0.56, 0.55, 0.54], UNDECIDED),  # within the first interval, but no longer above chance
        ([0.52, 0.52, 0.52, 0.52, 0.52], NOT_JUDGED),  # flat at chance is no level to keep
    ],
)
def test_keeping_the_level(values: list[float | None], verdict: str) -> None:
    assert judge_stable(curve(values), 0.5).verdict == verdict


def test_a_missing_point_on_the_way_is_not_judged() -> None:
    assert judge_stable(curve([0.8, 0.8, None, 0.8, 0.8]), 0.5).verdict == NOT_JUDGED


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ([0.7, 0.7, 0.70, 0.69, 0.66], SUPPORTED),
        ([0.7, 0.7, 0.70, 0.62, 0.66], UNDECIDED),  # inside the band at one ratio
        ([0.7, 0.7, 0.58, 0.60, 0.50], CONTRADICTED),  # never above the random mean
        ([0.5, 0.5, 0.70, 0.70, 0.70], SUPPORTED),  # only 0.90 to 0.99 count
    ],
)
def test_better_than_random_inputs(values: list[float | None], verdict: str) -> None:
    assert judge_selective(curve(values), 0.5).verdict == verdict


def test_better_than_random_needs_ratios_and_draws() -> None:
    assert judge_selective(curve([0.7] * 5)[:2], 0.5).verdict == NOT_JUDGED
    without = [replace(point, random_mean=None, random_high=None) for point in curve([0.7] * 5)]
    assert judge_selective(without, 0.5).verdict == NOT_JUDGED


@pytest.mark.parametrize(("value", "verdict"), [(0.90, SUPPORTED), (0.82, UNDECIDED), (0.70, CONTRADICTED)])
def test_a_printed_level(value: float, verdict: str) -> None:
    assert judge_level(curve([value] * 5), 0.8).verdict == verdict


def test_a_level_lost_on_the_way_is_undecided() -> None:
    assert judge_level(curve([0.9, 0.9, 0.9, 0.9, 0.7]), 0.8).verdict == UNDECIDED


def test_sentences_over_layers() -> None:
    yes, no, open_ = (Finding(v, "") for v in (SUPPORTED, CONTRADICTED, UNDECIDED))
    assert summarise({1: yes, 2: yes, 3: yes}) == "Supported in all 3 layers."
    assert summarise({1: yes, 2: no, 3: open_, 4: open_, 5: open_}) == (
        "Supported in layer 1; contradicted in layer 2; undecided in layers 3, 4 and 5."
    )
    assert summarise({2: no}) == "Contradicted in layer 2."
    assert summarise({2: no, 3: Finding(NOT_JUDGED, "no responses")}) == (
        "Contradicted in layer 2; not judged in layer 3 (no responses)."
    )
    assert summarise({}) == "Nothing was measured."


def test_numbers_as_printed() -> None:
    assert [number(v) for v in (None, 0.5, -0.031, -0.001)] == ["–", "0.50", "\N{MINUS SIGN}0.03", "0.00"]
