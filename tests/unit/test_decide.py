"""Verdicts from intervals: cases that averages of limits and rules without a margin got wrong, at several sizes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from workflow_scripts.lib.claims.decide import (
    ABOVE,
    BELOW,
    Decision,
    against_all,
    decide,
    keeps,
    needed_n,
    smallest_effect,
    where_known,
)
from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.estimands import (
    ACCURACY_DIFFERENCE,
    AUC,
    AUC_DIFFERENCE,
    SPEARMAN,
    SPEARMAN_DIFFERENCE,
    Size,
)
from workflow_scripts.lib.statistics.joint import auc_cell, paired_cell, resample, spearman_cell
from workflow_scripts.lib.statistics.joint_intervals import Interval, Spread, interval, planned

Array = np.ndarray
DRAWS = 300


def known(value: float, se: float, n: int = 100, **changes: object) -> Interval:
    """An estimand with a standard error that many problems give."""
    found = Interval(value, value, value, Spread(se**2, 1e6), n, n // 2)
    return replace(found, **changes).at(0.95)  # type: ignore[arg-type]


def harm(changes: Array) -> Interval:
    """The mean accuracy change over layers `[layers, problems]`, half of the problems solved."""
    n = changes.shape[1]
    cells = [paired_cell(layer, resample(n, DRAWS, "harm", n))[0] for layer in changes]
    return interval(ACCURACY_DIFFERENCE, [Size(n, n // 2)], fixed=np.mean(cells, axis=0))


def lost(n: int, *shares: float) -> Array:
    """Changes of problems, a layer a row: that share of them is lost."""
    return np.array([np.where(np.arange(n) < round(share * n), -1.0, 0.0) for share in shares])


def binormal(n: int, aucs: list[float], seeds: int, alike: float, name: str) -> tuple[Array, Array]:
    """Scores `[cells, seeds, n]` and rewards, with noise of which cells share the part `alike`."""
    rng, rewards = generator("binormal", name, n), np.arange(n) % 2
    own = np.sqrt(1 - alike) * rng.normal(size=(len(aucs), seeds, n))
    distance = np.sqrt(2) * np.reshape(norm.ppf(aucs), (-1, 1, 1))
    return distance * rewards + np.sqrt(alike) * rng.normal(size=n) + own, rewards


def kept(n: int, full: float, pruned: list[float], alike: float = 0.8) -> Decision:
    """Whether the mean of pruned curves keeps the level of the full one."""
    scores, rewards = binormal(n, [full, *pruned], 3, alike, "kept")
    weights, size = resample(n, DRAWS, "kept", n).weights, [Size(n, n // 2)]
    cells = np.array([auc_cell(of, rewards, weights) for of in scores])
    difference = interval(AUC_DIFFERENCE, size, [cells[1:].mean(0) - cells[0]])
    return keeps(difference, interval(AUC, size, [cells[0]]), -0.02, 0.55, "kept level")


@pytest.mark.parametrize(("interval_", "above", "below"), [
    (known(0.10, 0.01), SUPPORTED, CONTRADICTED),
    (known(-0.1, 0.01), CONTRADICTED, SUPPORTED),
    (known(0.03, 0.01), UNDECIDED, UNDECIDED),
    (known(0.10, 0.01, reason="Only 3 problems."), UNDECIDED, UNDECIDED),
])  # fmt: skip
def test_the_whole_interval_decides(interval_: Interval, above: str, below: str) -> None:
    up, down = (decide(interval_, 0.02, direction, "difference") for direction in (ABOVE, BELOW))
    assert (up.verdict, down.verdict) == (above, below)
    assert (up.value, up.ci_low, up.ci_high) == (interval_.value, interval_.low, interval_.high)
    assert not interval_.reason or up.evidence.endswith("Only 3 problems.")


@pytest.mark.parametrize(("n", "verdict"), [(30, UNDECIDED), (120, SUPPORTED), (600, SUPPORTED)])
def test_harm_at_one_layer_and_none_at_three_is_averaged(n: int, verdict: str) -> None:
    found = decide(harm(lost(n, 1 / 3, 0, 0, 0)), -0.02, BELOW, "harm")
    assert found.value == pytest.approx(-1 / 12) and found.verdict == verdict
    assert found.ci_low is not None and found.ci_high is not None and found.ci_low < -1 / 12 < found.ci_high
    assert found.ci_low > -0.333  # the layer's own harm is not what is claimed


@pytest.mark.parametrize(("n", "verdict"), [(60, UNDECIDED), (125, UNDECIDED), (1000, CONTRADICTED)])
def test_a_layer_where_hardly_an_answer_changed_does_not_stand_for_all(n: int, verdict: str) -> None:
    found = decide(harm(lost(n, 0.024, 0, 0, 0)), -0.02, BELOW, "harm")
    assert found.value == pytest.approx(-0.006, abs=0.003) and found.verdict == verdict


@pytest.mark.parametrize(("n", "verdict"), [(50, UNDECIDED), (100, UNDECIDED), (400, CONTRADICTED)])
def test_accuracies_that_collapsed_alike_decide_with_enough_problems(n: int, verdict: str) -> None:
    found = decide(harm(np.zeros((4, n))), -0.02, BELOW, "value less random")
    assert (found.verdict, found.value) == (verdict, 0)
    assert found.ci_low is not None and found.ci_high is not None and found.ci_low < 0 < found.ci_high


@pytest.mark.parametrize(("n", "verdict"), [(60, UNDECIDED), (1500, CONTRADICTED), (6000, CONTRADICTED)])
def test_the_same_drop_is_undecided_and_then_contradicted_but_never_supported(n: int, verdict: str) -> None:
    found = kept(n, 0.74, [0.68])
    assert found.verdict == verdict
    assert (found.needed_n is None) == (verdict == CONTRADICTED)


@pytest.mark.parametrize("n", [1500, 3000])
def test_a_level_that_is_kept_is_supported_with_enough_problems(n: int) -> None:
    assert kept(n, 0.74, [0.74], alike=0.95).verdict == SUPPORTED


@pytest.mark.parametrize(("n", "verdict"), [(40, UNDECIDED), (600, CONTRADICTED)])
def test_many_curves_that_each_fall_a_little_are_together_no_stable_ones(n: int, verdict: str) -> None:
    assert kept(n, 0.74, [0.69] * 54).verdict == verdict


@pytest.mark.parametrize("n", [60, 300])
def test_one_good_curve_and_five_constant_ones_keep_nothing(n: int) -> None:
    rng = generator("five constant", n)
    target, problems = rng.normal(size=2 * n), np.arange(2 * n) // 2
    full = 0.6 * target + 0.8 * rng.normal(size=(6, 3, 2 * n))
    pruned = np.concatenate([full[:1], np.zeros((5, 3, 2 * n))])
    weights = resample(n, DRAWS, "five").rows(problems)
    before, after = (np.mean([spearman_cell(c, target, weights) for c in cells], axis=0) for cells in (full, pruned))
    difference = interval(SPEARMAN_DIFFERENCE, [Size(n)], [after - before])
    assert difference.value == pytest.approx(-5 / 6 * before[:, 0].mean(), abs=0.05)
    assert keeps(difference, interval(SPEARMAN, [Size(n)], [before]), -0.05, 0.1, "kept").verdict == CONTRADICTED


@pytest.mark.parametrize("n", [60, 1000])
def test_where_there_is_no_level_nothing_is_kept(n: int) -> None:
    found = kept(n, 0.5, [0.5])
    assert found.verdict == UNDECIDED and "nothing to keep" in found.evidence
    close = keeps(known(0.0, 0.02), known(0.57, 0.02), -0.02, 0.55, "kept")
    assert close.verdict == UNDECIDED and close.needed_n == needed_n(known(0.57, 0.02), 0.55) == 385
    assert keeps(known(0.0, 0.02), known(0.53, 0.02), -0.02, 0.55, "kept").needed_n is None


@pytest.mark.parametrize(("level", "verdict"), [(0.7, SUPPORTED), (0.57, UNDECIDED)])
def test_every_group_must_have_a_level_to_keep(level: float, verdict: str) -> None:
    full = {"first": known(0.8, 0.02), "second": known(level, 0.02)}
    groups = {name: where_known(known(0.0, 0.005), one, 0.55) for name, one in full.items()}
    found = against_all(groups, -0.02, ABOVE, "kept")
    assert found.verdict == verdict and ("second" in found.estimand) == (verdict == UNDECIDED)


@pytest.mark.parametrize("n", [40, 400])
def test_one_wrong_response_of_many_decides_nothing(n: int) -> None:
    rewards = np.arange(n) > 0
    cell = auc_cell(np.arange(n) + np.zeros((3, 1)), rewards, resample(n, DRAWS, "one").weights)
    found = decide(interval(AUC, [Size(n, 1)], [cell]), 0.55, ABOVE, "AUC")
    assert (found.verdict, found.value, found.n_rarer) == (
        UNDECIDED,
        1,
        1,
    ) and "smallest data set: 1;" in found.evidence
    assert found.needed_n == 10 * n


@pytest.mark.parametrize("runs", [2, 8])
def test_an_opponent_that_one_run_lacks_contradicts_by_the_others(runs: int) -> None:
    """It beats the value neurons wherever it is defined; the comparison keeps the runs that have it."""
    sizes, parts = [], []
    for run in range(runs):
        scores, rewards = binormal(400, [0.65, 0.8], 3, 0.5, f"run {run}")
        weights = resample(400, DRAWS, "run", run).weights
        parts.append([auc_cell(of, rewards, weights) for of in scores])
        sizes.append(Size(400, 200))
    own, verbal = (np.array([part[which] for part in parts]) for which in (0, 1))
    against = interval(AUC_DIFFERENCE, sizes[1:], [(own[1:] - verbal[1:]).mean(0)])
    far = interval(AUC_DIFFERENCE, sizes, [(own - 0.5).mean(0)])
    found = against_all({"verbal": against, "length": far}, 0.02, ABOVE, "AUC difference")
    assert (found.verdict, found.n) == (CONTRADICTED, 400 * (runs - 1)) and "verbal" in found.estimand


def test_a_claim_is_supported_only_against_all_and_carries_the_nearest() -> None:
    all_beaten: dict[str, Interval | None] = {"a": known(0.2, 0.01), "b": known(0.06, 0.01)}
    found = against_all(all_beaten, 0.02, ABOVE, "difference")
    assert (found.verdict, found.estimand, found.value) == (SUPPORTED, "difference: b", 0.06)
    assert found.ci_low == pytest.approx(0.06 - 1.96 * 0.01, abs=1e-4)
    one_open = against_all({**all_beaten, "c": known(0.03, 0.01)}, 0.02, ABOVE, "difference")
    assert (one_open.verdict, one_open.value) == (UNDECIDED, 0.03) and one_open.needed_n == 385


def test_no_support_while_an_opponent_was_never_measured() -> None:
    found = against_all({"a": known(0.2, 0.01), "b": None}, 0.02, ABOVE, "difference")
    assert found.verdict == UNDECIDED and "Never measured" in found.evidence and found.evidence.endswith("b.")
    beaten = against_all({"a": known(-0.2, 0.01), "b": None}, 0.02, ABOVE, "difference")
    assert beaten.verdict == CONTRADICTED
    assert against_all({"a": None}, 0.02, ABOVE, "difference").verdict == UNDECIDED


def test_one_opponent_contradicts_at_widened_limits_only() -> None:
    """2.2 standard errors below the margin: enough alone, not among five; 3 are."""
    others: dict[str, Interval | None] = {name: known(0.2, 0.01) for name in "abcd"}
    assert decide(known(-0.002, 0.01), 0.02, ABOVE, "difference").verdict == CONTRADICTED
    near = against_all({**others, "e": known(-0.002, 0.01)}, 0.02, ABOVE, "difference")
    assert near.verdict == UNDECIDED and near.needed_n is not None and near.needed_n > 100
    far = against_all({**others, "e": known(-0.01, 0.01)}, 0.02, ABOVE, "difference")
    assert (far.verdict, far.estimand) == (CONTRADICTED, "difference: e")
    assert far.ci_high == pytest.approx(-0.01 + float(norm.ppf(0.995)) * 0.01, abs=1e-4)


@pytest.mark.parametrize("direction", [ABOVE, BELOW])
def test_a_gated_comparison_keeps_a_claim_undecided(direction: str) -> None:
    sign = 1 if direction == ABOVE else -1
    intervals = {"a": known(0.2 * sign, 0.01), "b": known(0.3 * sign, 0.01, reason="Only 3 problems.")}
    found = against_all(intervals, 0.02 * sign, direction, "difference")
    assert found.verdict == UNDECIDED and "Only 3 problems" in found.evidence


@pytest.mark.parametrize("members", [0.0, 0.0001])
@pytest.mark.parametrize("value", [-0.05, 0.06, 0.1])
def test_the_number_that_is_needed_is_the_first_that_decides(value: float, members: float) -> None:
    found = known(value, 0.05, spread=Spread(0.05**2, 99, members, 4))
    needed = needed_n(found, 0.02)
    assert needed is not None

    def verdict(problems: int) -> str:
        at = replace(found, spread=found.spread.at(problems / found.n)).at(0.95)
        return decide(at, 0.02, ABOVE, "difference").verdict

    assert verdict(needed) != UNDECIDED and verdict(needed - 1) == UNDECIDED
    assert decide(found, 0.02, ABOVE, "difference").needed_n == needed


def test_no_number_of_problems_outweighs_seeds_that_differ() -> None:
    assert needed_n(known(0.05, 0.05, spread=Spread(0.05**2, 99, 0.03**2, 2)), 0.02) is None
    assert needed_n(known(0.02, 0.05), 0.02) is None


@pytest.mark.parametrize("n", [50, 500])
def test_the_smallest_effect_is_decided_in_four_of_five_studies(n: int) -> None:
    spread = planned(AUC_DIFFERENCE, [Size(n, n // 2)], 0.4 / n)
    rng, effect = generator("power", n), smallest_effect(spread)
    drawn = effect + spread.se * rng.normal(size=4000)
    variances = spread.se**2 * rng.chisquare(spread.freedom, 4000) / spread.freedom
    decided = np.mean(drawn > spread.half_width(0.95) * np.sqrt(variances) / spread.se)
    assert decided == pytest.approx(0.8, abs=0.025)
    assert smallest_effect(spread.at(4)) == pytest.approx(effect / 2, rel=0.05)
