"""Table 3, its contrasts and the points of the reliability diagram, from scores with known answers."""

from pathlib import Path

import confidence_results as made
import numpy as np
import polars as pl
import pytest
from sides import sides
from sklearn.metrics import brier_score_loss, roc_auc_score

from workflow_scripts.lib.confidence.calibration import bins_of, brier, calibration_error, strata_of, two_sided
from workflow_scripts.lib.confidence.folds import folds_of
from workflow_scripts.lib.confidence.methods import BASELINES, METHODS, VALUE_METHODS
from workflow_scripts.lib.confidence.outcomes import Labels, calibrate, verbalized_outcome
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import bootstrap_auc, problem_weights, weighted_auc
from workflow_scripts.lib.statistics.intervals import wilson
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.tabulate_confidence import main

AGREED = {
    "table3": "model dataset method auc ci_low ci_high brier ece auc_within_length n n_right brier_low brier_high "
    "ece_low ece_high auc_within_low auc_within_high layers prune_ratios chosen_on reason",
    "confidence_contrasts": "model dataset method against chosen_on n difference ci_low ci_high p_value reason",
    "reliability": "model dataset method bin low high mean_probability share_right ci_low ci_high n reason",
}
ONES = np.ones((6, 1))


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def row_of(folder: Path, method: str, run: str = "grpo/ledger", name: str = "table3") -> dict:
    model, dataset = run.split("/")
    found = table(folder, name).filter(
        (pl.col("model") == model) & (pl.col("dataset") == dataset) & (pl.col("method") == method)
    )
    return found.to_dicts()[0]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    made.write_run(folder)
    made.write_run(folder, "grpo/locks", 120, seed=1)
    main(made.arguments(folder))
    return folder


def test_columns_and_rows(study: Path) -> None:
    for name, columns in AGREED.items():
        assert table(study, name).columns == columns.split()
        assert pl.read_csv(study / "tables" / f"{name}.csv").columns == columns.split()
    runs = [("grpo", "ledger"), ("grpo", "locks"), ("all", "all")]
    names = table(study, "table3").select("model", "dataset", "method").rows()
    assert names == [(*run, method) for run in runs for method in METHODS]
    names = table(study, "confidence_contrasts").select("model", "dataset", "method", "against").rows()
    assert names == [(*run, method, other) for run in runs for method in VALUE_METHODS for other in BASELINES]


def test_numbers_are_those_of_other_libraries(study: Path) -> None:
    rewards, scores = made.write_run(study)
    for method in ("lcd", "token"):
        row, mine = row_of(study, method), scores[method]
        assert row["auc"] == pytest.approx(roc_auc_score(rewards, mine))
        assert row["brier"] == pytest.approx(brier_score_loss(rewards, 1 / (1 + np.exp(-mine))))
        assert (row["n"], row["n_right"]) == (200, int(rewards.sum()))
        for name in ("auc", "brier", "ece", "auc_within_length"):
            stem = {"auc": "ci", "auc_within_length": "auc_within"}.get(name, name)
            assert row[f"{stem}_low"] <= row[name] <= row[f"{stem}_high"] and row[f"{stem}_low"] < row[f"{stem}_high"]


def test_value_neurons_are_a_mean_over_layers(study: Path) -> None:
    row = row_of(study, "value_neurons_cv")
    assert (row["layers"], row["prune_ratios"], row["chosen_on"]) == ("2, 3", "2: 0.9, 3: 0.9", "training folds")
    rewards, scores = made.write_run(study)
    assert row["auc"] == pytest.approx(roc_auc_score(rewards, scores["value_neurons_cv"]))  # the layers rank alike
    chances = np.mean([1 / (1 + np.exp(-scores["value_neurons_cv"] - shift)) for shift in (0, 0.01)], axis=0)
    assert row["brier"] == pytest.approx(brier_score_loss(rewards, chances))


def test_the_mean_over_runs_and_its_interval(study: Path) -> None:
    whole = row_of(study, "lcd", "all/all")
    parts = [row_of(study, "lcd", f"grpo/{name}") for name in ("ledger", "locks")]
    assert whole["auc"] == pytest.approx(np.mean([part["auc"] for part in parts]))
    widths = [part["ci_high"] - part["ci_low"] for part in parts]
    assert whole["ci_high"] - whole["ci_low"] == pytest.approx(np.hypot(*widths) / 2, rel=0.3)  # runs are independent
    assert whole["n"] == 320


def test_a_method_without_scores_says_why(study: Path) -> None:
    row = row_of(study, "verbal")
    assert row["reason"] == made.SILENT
    assert all(row[name] is None for name in ("auc", "ci_low", "brier", "ece", "auc_within_length"))
    assert row_of(study, "verbal", "all/all")["reason"] == f"grpo/ledger: {made.SILENT}; grpo/locks: {made.SILENT}"
    contrasts = table(study, "confidence_contrasts").filter(pl.col("against") == "verbal")
    assert set(sides(contrasts)) == {"none"} and contrasts["difference"].null_count() == len(contrasts)
    assert row_of(study, "verbal", name="reliability")["reason"] == made.SILENT


def test_sharper_scores_are_told_from_duller_ones(study: Path) -> None:
    found = table(study, "confidence_contrasts").filter(
        (pl.col("dataset") == "ledger") & (pl.col("against") == "token")
    )
    assert set(sides(found)) == {"above"} and found["p_value"].max() < 0.02  # type: ignore[operator]
    for row in found.to_dicts():
        gap = row_of(study, row["method"])["auc"] - row_of(study, "token")["auc"]
        assert row["difference"] == pytest.approx(gap)
        assert row["ci_low"] < gap < row["ci_high"]


def test_a_method_does_not_beat_itself(tmp_path: Path) -> None:
    rewards, scores = made.write_run(tmp_path)
    chosen = made.choices({})
    same = dict.fromkeys(METHODS, scores["lcd"])
    frame = made.predictions(chosen, rewards, same, np.full(len(rewards), 9))
    write_parquet(frame, tmp_path / "confidence/grpo/ledger.parquet")
    write_parquet(chosen, tmp_path / "confidence/grpo/ledger/choices.parquet")
    main(made.arguments(tmp_path))
    found = table(tmp_path, "confidence_contrasts")
    assert found["difference"].to_list() == [0.0] * len(found)
    assert set(sides(found)) == {"none"} and found["p_value"].null_count() == len(found)
    assert "every resample gives the same number" in found["reason"][0]
    row = row_of(tmp_path, "lcd")
    assert row["auc_within_length"] == pytest.approx(row["auc"])  # one length: one stratum


def test_reliability_adds_up(study: Path) -> None:
    rewards, scores = made.write_run(study)
    chances = 1 / (1 + np.exp(-scores["lcd"]))
    rows = table(study, "reliability").filter((pl.col("dataset") == "ledger") & (pl.col("method") == "lcd"))
    assert rows["n"].to_list() == [20] * 10 and rows["bin"].to_list() == list(range(10))
    assert (rows["high"][:-1] < rows["low"][1:]).all()
    for row in rows.to_dicts():
        inside = (chances >= row["low"]) & (chances <= row["high"])
        assert row["n"] == inside.sum()
        assert row["mean_probability"] == pytest.approx(chances[inside].mean())
        low, high = wilson(rewards[inside].sum(), inside.sum())
        assert (row["ci_low"], row["ci_high"]) == pytest.approx((float(low), float(high)))
    gaps = (rows["share_right"] - rows["mean_probability"]).abs() * rows["n"] / 200
    assert row_of(study, "lcd")["ece"] == pytest.approx(gaps.sum())


def test_an_order_of_files_changes_nothing(study: Path, tmp_path: Path) -> None:
    for run in ("grpo/locks", "grpo/ledger"):
        target = tmp_path / "confidence" / f"{run}.parquet"
        chosen = pl.read_parquet(study / "confidence" / run / "choices.parquet")
        target.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "confidence" / run).mkdir()
        shuffled = pl.read_parquet(study / "confidence" / f"{run}.parquet").sample(fraction=1, shuffle=True, seed=1)
        write_parquet(shuffled, target)
        write_parquet(chosen, tmp_path / "confidence" / run / "choices.parquet")
    main(made.arguments(tmp_path))
    for name in AGREED:
        assert table(tmp_path, name).equals(table(study, name))


def test_several_responses_of_a_problem_are_one_trial(tmp_path: Path) -> None:
    made.write_run(tmp_path / "one", n=60, rewards=(np.arange(60) % 2).astype(float))
    main(made.arguments(tmp_path / "one"))
    for name in ("choices.parquet", "../ledger.parquet"):
        source = tmp_path / "one/confidence/grpo/ledger" / name
        frame = pl.read_parquet(source)
        if name != "choices.parquet":
            frame = pl.concat([frame.with_columns(sample=pl.lit(i, pl.Int64)) for i in range(4)])
        target = tmp_path / "four/confidence/grpo/ledger" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(frame, target)
    main(made.arguments(tmp_path / "four"))
    one, four = (row_of(tmp_path / name, "lcd") for name in ("one", "four"))
    assert four["n"] == 4 * one["n"]
    for name in ("auc", "ci_low", "ci_high", "brier", "brier_low", "ece_high", "auc_within_high"):
        assert four[name] == pytest.approx(one[name])
    limits = [table(tmp_path / name, "reliability")["ci_low"].drop_nulls().to_list() for name in ("one", "four")]
    assert limits[1] == pytest.approx(limits[0])


@pytest.mark.parametrize(
    ("rewards", "reason"),
    [(np.ones(5), "all validation responses are correct"), (np.zeros(0), "no validation responses")],
)
def test_one_class_or_nothing(tmp_path: Path, rewards: np.ndarray, reason: str) -> None:
    made.write_run(tmp_path, rewards=rewards)
    main(made.arguments(tmp_path))
    row = row_of(tmp_path, "lcd")
    assert row["auc"] is None and reason in row["reason"]
    assert (row["brier"] is None) == (not len(rewards))
    assert set(sides(table(tmp_path, "confidence_contrasts"))) == {"none"}


def test_equal_scores_have_no_interval(tmp_path: Path) -> None:
    rewards, scores = made.write_run(tmp_path)
    chosen = pl.read_parquet(tmp_path / "confidence/grpo/ledger/choices.parquet")
    flat = scores | {"question_length": np.full(200, 50.0)}
    frame = made.predictions(chosen, rewards, flat, np.full(200, 50))
    write_parquet(frame, tmp_path / "confidence/grpo/ledger.parquet")
    main(made.arguments(tmp_path))
    row = row_of(tmp_path, "question_length")
    assert (row["auc"], row["ci_low"]) == (0.5, None)
    assert row["reason"].startswith("auc, auc_within_length: all scores are equal: no interval")


def test_a_few_missing_answers_are_left_out(tmp_path: Path) -> None:
    rewards, scores = made.write_run(tmp_path, undefined={})
    scores["verbal"][:8] = np.nan
    chosen = made.choices({})
    frame = made.predictions(chosen, rewards, scores, np.arange(200) % 7)
    write_parquet(frame, tmp_path / "confidence/grpo/ledger.parquet")
    main(made.arguments(tmp_path))
    row = row_of(tmp_path, "verbal")
    assert row["n"] == 192 and row["reason"] == "192 of 200 validation responses have a score"
    assert row["auc"] == pytest.approx(roc_auc_score(rewards[8:], scores["verbal"][8:]))
    contrast = row_of(tmp_path, "value_neurons", name="confidence_contrasts")
    assert contrast["against"] == "lcd"
    found = table(tmp_path, "confidence_contrasts").filter(pl.col("against") == "verbal").to_dicts()[0]
    ours = roc_auc_score(rewards[8:], scores["value_neurons"][8:])
    assert found["difference"] == pytest.approx(ours - row["auc"])


@pytest.mark.parametrize(("answered", "undefined"), [(10, None), (9, None), (8, "x for only 8 of 10"), (0, "never")])
def test_nine_in_ten_must_be_answered(answered: int, undefined: str | None) -> None:
    rewards = np.array([0.0, 1] * 5)
    scores = np.where(np.arange(10) < answered, 0.5, np.nan)
    labels = Labels(rewards, rewards, folds_of(list("abcdefghij"), 2, 0))
    found = verbalized_outcome("verbal", scores, scores, ("never", "x"), labels).undefined
    assert found is None if undefined is None else (found or "").startswith(undefined)


def test_no_runs_give_empty_tables(tmp_path: Path) -> None:
    main(made.arguments(tmp_path))
    for name, columns in AGREED.items():
        assert table(tmp_path, name).columns == columns.split() and table(tmp_path, name).is_empty()
        assert table(tmp_path, name).schema["method"] == pl.String


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    made.write_run(tmp_path)
    path = tmp_path / "confidence/grpo/ledger/choices.parquet"
    chosen = pl.read_parquet(path)
    write_parquet(chosen[1:], path)
    with pytest.raises(UserError, match="grpo/ledger: scores and choices of value_neurons do not match"):
        main(made.arguments(tmp_path))
    path.unlink()
    with pytest.raises(UserError, match=r"no file grpo/ledger/choices\.parquet"):
        main(made.arguments(tmp_path))
    assert not (tmp_path / "tables").exists()


def test_auc_within_strata_by_hand() -> None:
    right = np.array([True, False, False, True, True, False])
    scores, strata = np.array([3.0, 1, 4, 9, 8, 8.5]), np.array([0, 0, 0, 1, 1, 1])
    # Stratum 0: 1 of 2 pairs won; stratum 1: 1 of 2. Over all nine pairs: 3 > 1; 9 and 8 beat 1 and 4; 9 beats 8.5.
    assert weighted_auc(scores, right, ONES, strata) == pytest.approx([2 / 4])
    assert weighted_auc(scores, right, ONES, np.zeros(6)) == pytest.approx([6 / 9])
    assert weighted_auc(np.ones(6), right, ONES, strata) == pytest.approx([0.5])
    assert np.isnan(weighted_auc(scores[:1], right[:1], ONES[:1], strata[:1]))


def test_a_length_effect_is_no_confidence() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 4, 4000)
    right = rng.random(4000) < 0.2 + 0.2 * lengths
    ones = np.ones((4000, 1))
    assert weighted_auc(lengths, right, ones, np.zeros(4000))[0] > 0.7
    assert weighted_auc(lengths, right, ones, strata_of(lengths, 4)) == pytest.approx([0.5])
    assert weighted_auc(rng.normal(size=4000) + right, right, ones, strata_of(lengths, 4))[0] > 0.7


def test_resampled_auc_is_that_of_the_statistics() -> None:
    rng = np.random.default_rng(0)
    scores, labels, groups = rng.integers(0, 9, 60).astype(float), rng.integers(0, 2, 60), np.arange(60) // 2
    weights = problem_weights(groups, 50, generator(0, "x"))
    expected = bootstrap_auc(scores, labels, groups, 50, generator(0, "x"))[0]
    np.testing.assert_allclose(weighted_auc(scores, labels == 1, weights, np.zeros(60)), expected)


def test_strata_are_even_and_hold_ties_together() -> None:
    assert strata_of(np.arange(8), 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert strata_of(np.array([5, 5, 5, 5, 5, 9]), 4).tolist() == [0, 0, 0, 0, 0, 1]
    assert strata_of(np.full(3, 7), 4).tolist() == [0, 0, 0]
    assert strata_of(np.array([5, 6, 6, 6, 6, 7]), 4).tolist() == [0, 1, 1, 1, 1, 2]
    assert strata_of(np.array([1, 2, 2, 2, 2, 2, 2, 3, 4, 5]), 4).tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 2, 2]
    assert strata_of(np.array([], dtype=int), 4).tolist() == []


def test_brier_and_calibration_error_by_hand() -> None:
    chances, right = np.array([0.1, 0.1, 0.9, 1.0]), np.array([False, True, True, True])
    weights = np.array([[1.0, 0], [1, 0], [1, 1], [1, 1]])
    assert brier(chances, right, weights) == pytest.approx([(0.01 + 0.81 + 0.01 + 0) / 4, 0.01 / 2])
    inside = np.array([0, 0, 1, 1])
    assert calibration_error(chances, right, weights, inside) == pytest.approx([(0.8 + 0.1) / 4, 0.1 / 2])
    assert np.isnan(brier(chances, right, np.zeros((4, 1))))


def test_bins_hold_equally_many_and_ties_and_few_responses_join() -> None:
    assert bins_of(np.array([0.9, 0.1, 0.3, 0.2, 0.8, 0.7]), 3, 1).tolist() == [2, 0, 1, 0, 2, 1]
    assert bins_of(np.full(9, 0.4), 5, 1).tolist() == [0] * 9
    assert bins_of(0.1 + np.array([0.0, 1e-16, 2e-16, 0.5]), 4, 1).tolist() == [0, 0, 0, 1]  # rounding is no difference
    # Of 10, 2, 5 and 9 equal ones, the two join the five, which are fewer than the ten.
    steps = np.repeat([0.1, 0.2, 0.3, 0.4], [10, 2, 5, 9])
    assert np.bincount(bins_of(steps, 4, 5)).tolist() == [10, 7, 9]
    assert np.bincount(bins_of(steps, 4, 8)).tolist() == [10, 16]  # seven are still too few
    assert np.bincount(bins_of(steps, 4, 99)).tolist() == [26]
    assert bins_of(np.linspace(0, 1, 25), 10, 10).max() == 1  # two bins of ten at least, not ten bins of two
    assert bins_of(np.zeros(0), 10, 10).tolist() == []


def test_no_bin_of_a_skewed_method_has_a_few_responses(tmp_path: Path) -> None:
    """Nearly all probabilities lie near 1: bins of equal width would hold a response or two each below."""
    made.write_run(tmp_path, n=150)
    path = tmp_path / "confidence/grpo/ledger.parquet"
    frame = pl.read_parquet(path)
    write_parquet(frame.with_columns(probability=1 - (1 - pl.col("probability")) ** 6), path)
    main(made.arguments(tmp_path))
    rows = table(tmp_path, "reliability").drop_nulls("bin")
    assert rows["n"].is_between(10, 29).all()
    assert rows.group_by("method").agg(pl.col("n").sum())["n"].unique().to_list() == [150]


def test_the_tables_are_computed_from_the_scores_that_are_written(study: Path) -> None:
    scores = pl.read_parquet(study / "scores.parquet")
    mine = scores.filter(pl.col("dataset") == "ledger", pl.col("method") == "lcd")
    assert row_of(study, "lcd")["auc"] == pytest.approx(roc_auc_score(mine["reward"], mine["score"]))
    assert len(scores) == (200 + 120) * len(made.choices({}))


def test_calibration_pools_what_is_out_of_order() -> None:
    training, rewards = np.array([1.0, 2, 3, 4, np.nan]), np.array([0.0, 1, 0, 1, 1])
    assert calibrate(training, rewards, np.array([-9.0, 2.5, 4, 99])) == pytest.approx([0, 0.5, 1, 1])
    assert np.isnan(calibrate(training, rewards, np.array([np.nan]))).all()
    assert np.isnan(calibrate(np.full(5, np.nan), rewards, np.array([1.0]))).all()


def test_p_values_by_hand() -> None:
    assert two_sided(np.array([-1.0, 1, 2, 3])) == pytest.approx(2 * 2 / 5)
    assert two_sided(np.ones(99)) == pytest.approx(2 / 100)
    assert two_sided(np.zeros(9)) == 1 and two_sided(np.array([np.nan])) is None
