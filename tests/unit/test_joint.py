"""The joint bootstrap against plain versions, and intervals whose numbers are known."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.estimands import (
    ACCURACY_DIFFERENCE,
    AUC,
    AUC_DIFFERENCE,
    MEAN,
    SPEARMAN,
    SPEARMAN_DIFFERENCE,
    Kind,
    Size,
    auc_variance,
)
from workflow_scripts.lib.statistics.joint import (
    auc_cell,
    mean_cell,
    paired_cell,
    resample,
    spearman_cell,
    within_problems,
)
from workflow_scripts.lib.statistics.joint_intervals import Interval, Spread, interval, paired_interval, planned
from workflow_scripts.lib.statistics.set_overlap import (
    Measure,
    expected,
    iou,
    overlap_interval,
    pairs_of_seeds,
    share,
)

DRAWS = 400


def written_out(weights: np.ndarray) -> np.ndarray:
    """Row numbers of one resample."""
    return np.repeat(np.arange(len(weights)), weights.astype(int))


def width(found: Interval) -> float:
    assert found.low is not None and found.high is not None
    return found.high - found.low


@pytest.mark.parametrize("levels", [4, 1000])
def test_auc_equals_scikit_learn_on_every_resample(levels: int) -> None:
    rng = generator("auc cell", levels)
    problems = np.repeat(np.arange(15), 2)
    scores, rewards = rng.integers(0, levels, (3, 30)).astype(float), rng.integers(0, 2, 30)
    weights = resample(15, 40, "a").rows(problems)
    cell = auc_cell(scores, rewards, weights)
    for column in range(41):
        rows = written_out(weights[:, column])
        assert cell[:, column] == pytest.approx([roc_auc_score(rewards[rows], row[rows]) for row in scores])


def test_spearman_equals_scipy_on_every_resample() -> None:
    rng = generator("spearman cell")
    problems = np.repeat(np.arange(12), 3)
    predicted, target = rng.integers(0, 7, (2, 36)).astype(float), rng.integers(0, 7, 36).astype(float)
    weights = resample(12, 300, "s").rows(problems)
    cell = spearman_cell(predicted, target, weights)
    for column in range(301):
        rows = written_out(weights[:, column])
        assert cell[:, column] == pytest.approx([stats.spearmanr(row[rows], target[rows])[0] for row in predicted])


def test_noise_of_single_precision_breaks_no_tie() -> None:
    rewards = np.arange(40) % 2
    scores = (np.arange(40) // 20 + 1e-6 * rewards).astype(np.float32)[None]
    weights = resample(40, 20, "noise").weights
    assert auc_cell(scores, rewards, weights)[0, 0] == 0.5 < auc_cell(scores.astype(float), rewards, weights)[0, 0]
    assert spearman_cell(np.ones((1, 40), np.float32) + scores * 1e-7, np.arange(40.0), weights)[0, 0] == 0


def test_a_constant_score_is_exactly_chance_in_every_resample() -> None:
    weights = resample(30, 50, "constant").weights
    assert (auc_cell(np.full((2, 30), 0.3), np.arange(30) % 2, weights) == 0.5).all()
    assert (spearman_cell(np.full((2, 30), 0.3), np.arange(30.0), weights) == 0).all()


def test_resamples_of_one_class_are_kept_as_chance_and_data_of_one_class_are_undefined() -> None:
    weights, rewards = resample(10, 400, "rare").weights, np.arange(10) == 9
    cell = auc_cell(np.arange(10.0), rewards, weights)[0]
    missed = weights[9] == 0
    assert 0.2 < missed.mean() < 0.5 and (cell[missed] == 0.5).all() and (cell[~missed] == 1).all()
    assert np.isnan(auc_cell(np.arange(10.0), np.ones(10), weights)[0, 0])
    assert np.isnan(auc_cell(np.where(rewards, np.nan, 1.0), rewards, weights)[0, 0])
    assert np.isnan(spearman_cell(np.arange(10.0), np.ones(10), weights)[0, 0])


def test_cells_share_resamples_and_data_sets_do_not() -> None:
    first, again, other = (resample(50, 30, 1, name).weights for name in ("ledger", "ledger", "locks"))
    assert (first == again).all() and not (first == other).all()
    assert (first[:, 0] == 1).all() and first[:, 1:].sum(0).mean() == pytest.approx(50, abs=1)
    values = generator("twice").normal(size=(1, 50))
    assert (mean_cell(values, first) - mean_cell(values, again) == 0).all()


def test_responses_are_averaged_within_their_problem() -> None:
    found = within_problems(np.array([[1.0, 0, 1, 0.5]]), np.array([0, 0, 0, 2]), 3)
    assert found[0] == pytest.approx([2 / 3, np.nan, 0.5], nan_ok=True)


@pytest.mark.parametrize("lost", [0, 3, 30])
@pytest.mark.parametrize("n", [40, 200])
def test_pseudo_problems_in_resamples_have_their_closed_form(n: int, lost: int) -> None:
    differences = np.where(np.arange(n) < lost, -1.0, 0.0)
    size = Size(n, n // 2)
    exact = paired_interval(differences, size)
    drawn = interval(ACCURACY_DIFFERENCE, [size], fixed=paired_cell(differences, resample(n, 20_000, n, lost)))
    assert exact.value == drawn.value == -lost / n
    assert exact.se == pytest.approx(drawn.se, rel=0.03) and width(exact) > 0
    assert paired_interval(np.zeros(n), size).se == pytest.approx(np.sqrt(2) / (n + 2), rel=0.03)


def test_the_variance_of_members_is_added_with_their_degrees_of_freedom() -> None:
    rng = generator("members")
    draws = 5000
    cell = 0.2 + 0.03 * rng.normal(size=draws + 1) + np.array([[0.1], [0.0], [-0.1], [0.04]])
    cell[:, 0] = [0.3, 0.2, 0.1, 0.24]
    found = interval(AUC_DIFFERENCE, [Size(400, 101)], [cell])
    members, problems = np.var(cell[:, 0], ddof=1) / 4, cell[:, 1:].mean(0).var(ddof=1) * 101 / 100
    taken = 3 * members  # for the degrees of freedom
    freedom = (taken + problems) ** 2 / (taken**2 / 3 + problems**2 * (1 / 100 + 1 / (draws - 1)))
    assert (found.value, found.m) == (pytest.approx(0.21), 4)
    assert found.se == pytest.approx(np.sqrt(members + problems)) and found.freedom == pytest.approx(freedom)
    assert width(found) == pytest.approx(2 * stats.t.ppf(0.975, freedom) * found.se)


def test_parts_that_were_sampled_apart_add_their_variances() -> None:
    own, others = np.zeros((3, 201)), np.zeros((20, 201))
    own[:, 0], others[:, 0] = [0.1, 0.2, 0.3], np.linspace(0, 0.19, 20)
    found = interval(AUC_DIFFERENCE, [Size(200, 100)], [own, -others])
    assert found.value == pytest.approx(0.105) and found.m == 3
    assert found.spread.members == pytest.approx(0.01 / 3 + np.var(others[:, 0], ddof=1) / 20)


def test_two_members_leave_their_spread_unknown_and_none_is_no_lack() -> None:
    cell = generator("two").normal(0.7, 0.02, (2, 101))
    two = interval(AUC, [Size(100, 50)], [cell])
    assert two.value is not None and two.low is None and two.reason and "Only 2" in two.reason
    fixed = interval(AUC, [Size(100, 50)], fixed=cell[0])
    assert fixed.reason is None and fixed.m is None and width(fixed) > 0


@pytest.mark.parametrize(("few", "others"), [(10, 40), (25, 25), (50, 450)])
def test_a_constant_score_has_the_interval_of_the_null_variance(few: int, others: int) -> None:
    found = interval(AUC, [Size(few + others, few)], [np.full((3, 101), 0.5)])
    assert found.value == 0.5
    assert found.se == pytest.approx(np.sqrt((few + others + 1) / (12 * few * others)))
    assert found.low is not None and found.high is not None and 0.5 - found.low == pytest.approx(found.high - 0.5)


@pytest.mark.parametrize("half", [10, 50, 500])
def test_a_perfect_score_has_a_lower_limit_that_rises_with_the_number_of_problems(half: int) -> None:
    """The limit solves (1 - theta)^2 = t^2 V(theta), a score test with the model's variance."""
    found = interval(AUC, [Size(2 * half, half)], [np.ones((3, 401))])
    assert found.low is not None and found.high == 1
    quantile = stats.t.ppf(0.975, found.freedom)
    assert (1 - found.low) ** 2 == pytest.approx(quantile**2 * auc_variance(found.low, half, half), rel=1e-3)
    assert 1 - found.low < 5 / half


def test_the_model_variance_is_that_of_simulated_exponential_scores() -> None:
    rng = generator("exponential")
    scores = np.concatenate([3 * rng.exponential(size=(4000, 25)), rng.exponential(size=(4000, 25))], axis=1)
    ranks = stats.rankdata(scores, axis=1)[:, :25].sum(1)
    assert ((ranks - 325) / 625).var() == pytest.approx(auc_variance(0.75, 25, 25), rel=0.1)


KINDS = [(AUC, 0.5), (AUC, 1.0), (AUC, 0.74), (AUC_DIFFERENCE, 0.0), (SPEARMAN, 0.0), (SPEARMAN, 1.0)]
KINDS += [(SPEARMAN_DIFFERENCE, 0.0), (ACCURACY_DIFFERENCE, 0.0), (MEAN, 0.0)]


@pytest.mark.parametrize(("kind", "value"), KINDS)
@pytest.mark.parametrize("n", [30, 1500])
def test_no_variance_gives_no_interval_of_width_zero(kind: Kind, value: float, n: int) -> None:
    found = interval(kind, [Size(n, n // 3)], [np.full((3, 201), value)])
    assert found.low is not None and found.high is not None
    assert found.low <= value <= found.high and 0.5 / n < width(found) < 6 / np.sqrt(n)


def test_an_average_of_cells_takes_a_constant_layer_as_exactly_chance() -> None:
    rng = generator("layers")
    rewards = np.arange(200) % 2
    weights = resample(200, 50, "layers").weights
    good = [auc_cell(rewards + rng.normal(size=(3, 200)), rewards, weights) for _ in range(6)]
    constant = auc_cell(np.zeros((3, 200)), rewards, weights)
    found = interval(AUC, [Size(200, 100)], [np.mean([*good, constant], axis=0)])
    assert found.value == pytest.approx((np.sum([cell[:, 0].mean() for cell in good]) + 0.5) / 7)


@pytest.mark.parametrize(("kind", "sizes", "passes"), [
    (AUC, [Size(40, 1)], False),
    (AUC, [Size(1000, 9)], False),
    (AUC, [Size(20, 10)], True),
    (AUC, [Size(500, 100), Size(500, 9)], False),
    (SPEARMAN, [Size(19)], False),
    (SPEARMAN, [Size(20)], True),
])  # fmt: skip
def test_gates_count_problems(kind: Kind, sizes: list[Size], passes: bool) -> None:
    found = interval(kind, sizes, [np.tile(np.linspace(0.6, 0.7, 101), (3, 1))])
    assert (found.reason is None) == passes
    assert passes or (found.reason is not None and found.reason.endswith(f"needs {kind.fewest}."))


def test_what_is_undefined_says_so() -> None:
    cell = np.full((3, 101), 0.5)
    cell[1, 0] = np.nan
    found = interval(AUC, [Size(100, 50)], [cell])
    assert (found.value, found.low) == (None, None) and found.reason and "undefined" in found.reason


def test_degrees_of_freedom_of_data_sets_are_pooled() -> None:
    assert planned(AUC, [Size(100, 21)], 0.01).freedom == pytest.approx(20)
    assert planned(AUC, [Size(100, 21)] * 4, 0.01).freedom == pytest.approx(80)
    assert planned(AUC, [Size(100, 11), Size(10_000, 5000)], 0.01).freedom == pytest.approx(10, abs=0.1)
    assert planned(AUC, [Size(100, 50)], 0.0, 0.09, 3) == Spread(0.0, pytest.approx(49), 0.03, 2)  # type: ignore


def test_another_confidence_is_another_quantile() -> None:
    found = interval(AUC_DIFFERENCE, [Size(200, 100)], fixed=generator("wide").normal(0.1, 0.02, 401))
    plain, wide = (stats.t.ppf(1 - 0.025 / opponents, found.freedom) for opponents in (1, 3))
    assert width(found.at(1 - 0.05 / 3)) / width(found) == pytest.approx(wide / plain)
    level = interval(AUC, [Size(40, 20)], fixed=generator("level").normal(0.9, 0.04, 401))
    assert level.high is not None and level.low is not None and level.value is not None
    assert level.high < 1 and level.value - level.low > level.high - level.value


def test_sets_are_compared_with_other_seeds_only() -> None:
    masks = np.zeros((3, 10), bool)
    for row, start in zip(masks, (0, 2, 4), strict=True):
        row[start : start + 4] = True
    assert pairs_of_seeds(masks, masks) == pytest.approx(
        np.array([[np.nan, 1 / 3, 0], [1 / 3, np.nan, 1 / 3], [0, 1 / 3, np.nan]]), nan_ok=True
    )
    assert pairs_of_seeds(masks, masks, share)[0, 1] == 0.5


@pytest.mark.parametrize("measure", [iou, share])
def test_the_expected_overlap_is_that_of_uniform_draws(measure: Measure) -> None:
    rng = generator("uniform sets")
    shared = np.array([len(set(rng.choice(30, 6, replace=False)) & set(range(8))) for _ in range(4000)])
    simulated = measure(shared, np.array(6), np.array(8)).mean()
    assert expected(30, 6, 8, measure) == pytest.approx(simulated, abs=0.006)


def test_the_jackknife_leaves_out_a_seed_with_all_its_pairs() -> None:
    pairs = np.full((4, 4), np.nan)
    values = {(0, 1): 0.2, (0, 2): 0.4, (0, 3): 0.3, (1, 2): 0.6, (1, 3): 0.5, (2, 3): 0.9}
    for (i, j), value in values.items():
        pairs[i, j] = pairs[j, i] = value
    found = overlap_interval([pairs, pairs], [0.1, 0.3], neurons=10)
    left = [np.mean([v for pair, v in values.items() if seed not in pair]) for seed in range(4)]
    se = np.sqrt(3 / 4 * np.sum((left - np.mean(left)) ** 2))
    assert found.value == pytest.approx(np.mean(list(values.values())) - 0.2) and found.se == pytest.approx(se)
    assert width(found) == pytest.approx(2 * stats.t.ppf(0.975, 3) * se) and (found.n, found.n_rarer) == (4, None)


def test_seeds_that_all_agree_still_have_an_interval_and_two_seeds_none() -> None:
    none = np.where(np.eye(5, dtype=bool), np.nan, 0.0)
    few, many = (width(overlap_interval([none], [0.02], neurons)) for neurons in (4, 400))
    assert few > 10 * many > 0
    two = overlap_interval([none[:2, :2]], [0.02], 4)
    assert two.value == pytest.approx(-0.02) and two.low is None and two.reason and "Only 2 seeds" in two.reason


@pytest.mark.parametrize("n", [100, 400])
def test_an_average_is_narrower_than_the_average_of_limits_where_cells_differ(n: int) -> None:
    """Cells that share their problems but not their noise; the average of limits would be as wide as one cell."""
    rng = generator("average", n)
    rewards, resamples = np.arange(n) % 2, resample(n, DRAWS, "average", n)
    cells = [auc_cell(0.8 * rewards + rng.normal(size=n), rewards, resamples.weights)[0] for _ in range(8)]
    size = [Size(n, n // 2)]
    one = float(np.mean([width(interval(AUC, size, fixed=cell)) for cell in cells]))
    assert width(interval(AUC, size, fixed=np.mean(cells, axis=0))) == pytest.approx(one / np.sqrt(8), rel=0.25)
    assert width(interval(AUC, size, fixed=np.mean([cells[0]] * 8, axis=0))) == pytest.approx(one, rel=0.15)


@pytest.mark.parametrize("ratio", [0.1, 1, 16])
def test_three_members_are_covered_whatever_their_share_of_the_variance(ratio: float) -> None:
    """Normal numbers, 60 degrees of freedom for problems; without `CAUTION` it is 92.5 % at a ratio of 16."""
    rng, n = generator("few members", str(ratio)), 4000
    estimates = np.sqrt(1 + ratio) * rng.normal(size=n)
    spreads = zip(rng.chisquare(60, n) / 60, ratio * rng.chisquare(2, n) / 2, strict=True)
    se, freedom = np.array([(s.se, s.freedom) for s in (Spread(p, 60, q, 2) for p, q in spreads)]).T
    assert np.mean(np.abs(estimates) < stats.t.ppf(0.975, freedom) * se) == pytest.approx(0.953, abs=0.017)
