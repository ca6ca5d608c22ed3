"""The calibration of verdicts in small: few worlds of every cheap family, and a check that can fail."""

from dataclasses import replace

import pytest

from benchmarks.bench_verdicts import FAMILIES, SIDES, Setting, line_of, main, sets_truth, spearman_of
from workflow_scripts.lib.claims.paper_claims import TESTS
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics import joint_intervals

WORLDS, DRAWS = 150, 100


def flagged(family: str, n: int, accuracy: float, side: str = "at", worlds: int = WORLDS) -> list[str]:
    at = Setting(n, accuracy, SIDES[side] * FAMILIES[family].effect, DRAWS)
    return line_of((family, side, at, worlds, 0))


@pytest.mark.parametrize(("family", "n", "accuracy"), [
    ("auc_single", 50, 0.5),
    ("auc_single", 300, 0.1),
    ("auc_near_1_single", 100, 0.5),
    ("auc_constant_layer", 100, 0.5),
    ("auc_difference", 50, 0.5),
    ("auc_kept", 100, 0.5),
    ("spearman_level", 50, 0.0),
    ("spearman_difference", 50, 0.0),
    ("accuracy", 100, 0.5),
    ("accuracy_random", 300, 0.5),
    ("accuracy_collapsed", 100, 0.5),
    ("sets", 3, 0.0),
    ("sets", 10, 0.0),
])  # fmt: skip
def test_false_verdicts_at_the_margin_are_as_rare_as_promised(family: str, n: int, accuracy: float) -> None:
    line = flagged(family, n, accuracy)
    assert float(line[4]) > 90 and line[-1] in ("", "wide"), line


def test_the_check_finds_intervals_without_the_variance_of_members(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds that differ much are covered with it, and not without it."""
    assert flagged("auc_seeds", 300, 0.5)[-1] in ("", "wide")
    monkeypatch.setattr(joint_intervals, "member_variance", lambda parts: (0.0, float("inf")))
    assert flagged("auc_seeds", 300, 0.5)[-1] == "miss"


def test_the_check_finds_jackknife_intervals_of_normal_width(monkeypatch: pytest.MonkeyPatch) -> None:
    """With three seeds Student's t is more than twice as wide as the normal quantile."""
    plain = joint_intervals.Spread.half_width
    monkeypatch.setattr(
        joint_intervals.Spread,
        "half_width",
        lambda spread, confidence: plain(replace(spread, problem_freedom=1e9), confidence),
    )
    assert flagged("sets", 3, 0.0, worlds=300)[-1] in ("miss", "narrow")


@pytest.mark.parametrize(("side", "column"), [("for", 5), ("against", 6)])
def test_an_effect_is_found_with_more_problems(side: str, column: int) -> None:
    few, many = (float(flagged("auc_difference", n, 0.5, side, 60)[column]) for n in (50, 300))
    assert many > 80 and few < many


def test_a_claim_is_never_supported_while_an_opponent_is_undefined() -> None:
    assert float(flagged("opponents_undefined", 300, 0.5, "for", 30)[5]) == 0
    assert float(flagged("opponents_one_at", 300, 0.5, "for", 30)[5]) > 80


def test_the_known_truths_are_those_of_large_samples() -> None:
    rng = generator("truths")
    assert spearman_of(0.5, 0.0) == pytest.approx(0.4826, abs=1e-4)  # 6 / pi asin(1 / 4)
    rho = 0.3 + 0.04 * rng.normal(size=20_000)
    assert spearman_of(0.3) == pytest.approx(sum(spearman_of(each, 0.0) for each in rho[:2000]) / 2000, abs=0.003)
    make, at = FAMILIES["sets"].make, Setting(200, 0.0, 0.04, DRAWS)
    values = [world.interval.value for world in (make(generator("large sets", i), at) for i in range(3))]
    assert values == pytest.approx([0.09] * 3, abs=0.012)
    assert sets_truth(0.5, 0.0) < sets_truth(0.5, 0.2)


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--family", "accuracy_collapsed", "--worlds", "30", "--draws", "50"])
    printed = capsys.readouterr().out
    assert printed.count("| accuracy_collapsed |") == 9 and "| family | n |" in printed


def test_every_claim_is_calibrated_on_worlds_of_its_family() -> None:
    assert {test.family for test in TESTS.values()} <= set(FAMILIES)
    tables = {"sets": ("overlap", "neurons"), "spearman": ("dopamine", "trajectories", "ablated"), "auc": ("value",)}
    for key, test in TESTS.items():
        known = tables.get(test.family.split("_")[0])
        assert known is None or test.table in known, key
