"""Intervals that hold their level, rank statistics against plain versions, undefined numbers that stay undefined."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import bootstrap_auc, bootstrap_mean, bootstrap_spearman, problem_weights
from workflow_scripts.lib.statistics.intervals import Estimate, estimate, newcombe, wilson
from workflow_scripts.lib.statistics.ranks import auc, auc_undefined, pearson, spearman, spearman_undefined
from workflow_scripts.lib.values.noise_ceiling import noise_ceiling, spearman_brown

CONFIDENCE = 0.95


def contains(found: Estimate, truth: float) -> bool:
    """Whether the interval, which must be there, holds `truth`."""
    assert found.low is not None and found.high is not None
    return found.low <= truth <= found.high


def test_wilson_equals_scipy():
    for n_right, n in [(0, 16), (3, 16), (16, 16), (50, 101)]:
        expected = stats.binomtest(n_right, n).proportion_ci(CONFIDENCE, method="wilson")
        assert wilson(n_right, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_of_no_trials_is_undefined():
    low, high = wilson([0, 1], [0, 2])
    assert np.isnan(low[0]) and np.isnan(high[0]) and low[1] < 0.5 < high[1]


def test_newcombe_reproduces_the_published_example():
    """Newcombe (1998), table II, example (a), method 10: 56/70 - 48/80 gives 0.0524 to 0.3339."""
    first = (56 / 70, *wilson(56, 70))
    second = (48 / 80, *wilson(48, 80))
    assert newcombe(first, second) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_newcombe_of_an_exact_value_mirrors_the_other_interval():
    low, high = wilson(3, 16)
    assert newcombe((1, 1, 1), (3 / 16, low, high)) == pytest.approx((1 - high, 1 - low))


def test_auc_equals_scikit_learn_with_ties():
    rng = generator("auc")
    scores, labels = rng.integers(0, 6, (4, 80)).astype(float), rng.integers(0, 2, 80)
    assert auc(scores, labels) == pytest.approx([roc_auc_score(labels, row) for row in scores])
    assert auc(scores[0], labels) == pytest.approx(roc_auc_score(labels, scores[0]))


def test_auc_of_constant_scores_is_a_half_and_of_one_class_undefined():
    assert auc(np.zeros(4), np.array([0, 1, 0, 1])) == 0.5
    assert np.isnan(auc(np.arange(4.0), np.ones(4)))
    assert np.isnan(auc(np.array([0, np.nan, 1]), np.array([0, 1, 1])))
    assert np.isnan(auc(np.zeros(0), np.zeros(0)))


def test_spearman_equals_scipy():
    rng = generator("spearman")
    x, y = rng.integers(0, 9, (3, 50)).astype(float), rng.integers(0, 9, 50).astype(float)
    assert spearman(x, y) == pytest.approx([stats.spearmanr(row, y).statistic for row in x])
    assert pearson(x, y) == pytest.approx([stats.pearsonr(row, y).statistic for row in x])


@pytest.mark.parametrize("x", [[0.1, 0.1, 0.1], [1.0, np.nan, 2.0]])
def test_spearman_of_what_does_not_vary_is_undefined(x):
    assert np.isnan(spearman(np.array(x), np.array([1.0, 2.0, 3.0])))
    assert np.isnan(pearson(np.array(x), np.array([1.0, 2.0, 3.0])))


def resampled(groups, weights):
    """Row numbers of one bootstrap sample, written out."""
    return np.repeat(np.arange(len(groups)), weights.astype(int))


def test_bootstrap_auc_equals_writing_out_every_sample():
    rng = generator("bootstrap auc")
    scores, labels = rng.integers(0, 5, (3, 30)).astype(float), rng.integers(0, 2, 30)
    groups = np.repeat(np.arange(15), 2)
    drawn = bootstrap_auc(scores, labels, groups, 50, generator("draws"))
    weights = problem_weights(groups, 50, generator("draws"))
    for draw in range(50):
        rows = resampled(groups, weights[:, draw])
        assert drawn[:, draw] == pytest.approx([roc_auc_score(labels[rows], row[rows]) for row in scores])


def test_bootstrap_spearman_equals_ranking_every_sample_anew():
    rng = generator("bootstrap spearman")
    predicted, target = rng.integers(0, 7, (2, 24)).astype(float), rng.integers(0, 7, 24).astype(float)
    groups = np.repeat(["a", "b", "c", "d", "e", "f"], 4)
    drawn = bootstrap_spearman(predicted, target, groups, 40, generator("draws"))
    weights = problem_weights(groups, 40, generator("draws"))
    for draw in range(40):
        rows = resampled(groups, weights[:, draw])
        expected = [stats.spearmanr(row[rows], target[rows]).statistic for row in predicted]
        assert drawn[:, draw] == pytest.approx(expected, nan_ok=True)


def test_problems_are_resampled_whole():
    groups = np.array([0, 0, 0, 1, 2, 2])
    weights = problem_weights(groups, 100, generator("whole"))
    assert (weights[0] == weights[1]).all() and (weights[1] == weights[2]).all() and (weights[4] == weights[5]).all()
    assert (weights[[0, 3, 4]].sum(0) == 3).all()


def test_samples_of_one_class_are_undefined_and_left_out_of_the_interval():
    scores, labels, groups = np.arange(10.0), np.array([1, *[0] * 9]), np.arange(10)
    drawn = bootstrap_auc(scores, labels, groups, 400, generator("one"))
    assert 0.2 < np.isnan(drawn).mean() < 0.5  # (1 - 1/10)^10 = 0.35 of the samples miss the only right response
    assert estimate(float(auc(scores, labels)), drawn[0]).value == 0


def test_bootstrap_interval_covers_a_known_auc():
    """Normal scores one deviation apart have AUC Phi(1 / sqrt 2) = 0.760."""
    truth, covered, simulations = stats.norm.cdf(1 / np.sqrt(2)), 0, 300
    for simulation in range(simulations):
        rng = generator("coverage", simulation)
        labels = np.arange(120) % 2
        scores = rng.normal(size=120) + labels
        drawn = bootstrap_auc(scores, labels, np.arange(120), 300, rng)[0]
        found = estimate(float(auc(scores, labels)), drawn)
        covered += contains(found, truth)
    assert 0.91 <= covered / simulations <= 0.98


def test_resampling_problems_covers_where_resampling_responses_would_not():
    """Six identical responses a problem: only the problems are independent."""
    truth, covered = 0.0, {"problems": 0, "responses": 0}
    for simulation in range(200):
        rng = generator("clusters", simulation)
        x, y = np.repeat(rng.normal(size=(2, 40)), 6, axis=1)
        for unit, groups in {"problems": np.repeat(np.arange(40), 6), "responses": np.arange(240)}.items():
            drawn = bootstrap_spearman(x, y, groups, 200, rng)[0]
            found = estimate(float(spearman(x, y)), drawn)
            covered[unit] += contains(found, truth)
    assert covered["problems"] >= 0.9 * 200
    assert covered["responses"] <= 0.75 * 200


def test_bootstrap_mean_covers_the_mean():
    covered = 0
    for simulation in range(300):
        rng = generator("mean", simulation)
        groups = np.repeat(np.arange(50), 3)
        values = np.repeat(rng.normal(2, 1, 50), 3) + rng.normal(0, 0.5, 150)
        found = bootstrap_mean(values, groups, 300, rng)
        covered += contains(found, 2)
    assert 0.90 <= covered / 300 <= 0.98


def test_spearman_brown_recovers_a_simulated_reliability():
    rng = generator("reliability")
    true = rng.normal(size=20000)
    half_a, half_b = true + rng.normal(size=(2, 20000))  # error variance of the whole: 1/2, reliability 1 / 1.5
    found = noise_ceiling(half_a, half_b, rank=False)
    assert found.half_correlation == pytest.approx(0.5, abs=0.02)
    assert found.reliability == pytest.approx(2 / 3, abs=0.02)
    assert found.ceiling == pytest.approx(np.corrcoef(true, (half_a + half_b) / 2)[0, 1], abs=0.02)
    by_rank = noise_ceiling(half_a, half_b)
    assert by_rank.ceiling == pytest.approx(stats.spearmanr(true, (half_a + half_b) / 2).statistic, abs=0.02)


def test_spearman_brown_of_parallel_measurements():
    assert spearman_brown(0.5) == pytest.approx(2 / 3)
    assert spearman_brown(0.5, 4) == pytest.approx(0.8)
    assert spearman_brown(1.0) == 1


@pytest.mark.parametrize(
    ("half_a", "half_b", "reason"),
    [
        ([], [], "too few"),
        ([0.1, np.nan, 0.2, 0.3], [0.1, 0.2, np.nan, 0.4], "too few"),
        ([0.2, 0.2, 0.2], [0.1, 0.2, 0.3], "same TD error everywhere"),
        ([0.1, 0.2, 0.3], [0.3, 0.2, 0.1], "cannot be distinguished from noise"),
    ],
)
def test_a_ceiling_that_cannot_be_said_has_a_reason(half_a, half_b, reason):
    found = noise_ceiling(np.array(half_a), np.array(half_b))
    assert found.ceiling is None and found.reliability is None
    assert reason in str(found.reason)


def test_undefined_numbers_become_none_with_a_reason():
    assert estimate(np.nan, np.zeros(3), reason="all responses are correct").reason == "all responses are correct"
    constant = estimate(0.5, np.full(10, 0.5))
    assert constant.low is None and "same number" in str(constant.reason)
    scarce = estimate(0.5, np.array([np.nan, np.nan, 0.5]))
    assert scarce.low is None and "too few problems" in str(scarce.reason)
    assert bootstrap_mean(np.zeros(0), np.zeros(0), 10, generator("none")).reason == "no values"
    assert bootstrap_mean(np.array([1, np.nan]), np.arange(2), 10, generator("nan")).value is None


def test_an_interval_contains_its_number():
    found = estimate(0.9, np.linspace(0.1, 0.5, 100))
    assert contains(found, 0.9)


def test_reasons_why_a_correlation_or_an_auc_is_undefined():
    scores, labels = np.arange(3.0), np.array([0, 1, 1])
    assert auc_undefined(scores, labels) is None
    assert auc_undefined(scores, np.ones(3)) == "all responses are correct"
    assert auc_undefined(scores, np.zeros(3)) == "all responses are incorrect"
    assert auc_undefined(np.zeros((2, 3)), labels) == "all scores are equal"
    assert auc_undefined(np.array([0, np.nan, 1]), labels) == "a score is not a number"
    assert auc_undefined(np.zeros(0), np.zeros(0)) == "no responses"
    assert spearman_undefined(scores, np.array([1.0, 2.0, 4.0])) is None
    assert spearman_undefined(np.zeros((2, 3)), scores) == "all predictions are equal"
    assert spearman_undefined(scores, np.ones(3)) == "all TD errors are equal"
    assert spearman_undefined(scores * np.nan, scores) == "a value is not a number"
    assert "too few" in str(spearman_undefined(scores[:2], scores[:2]))
