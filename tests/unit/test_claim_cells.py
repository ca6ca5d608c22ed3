"""What stands behind a verdict: every run and layer, shuffled labels, and a typical and a worst response."""

import numpy as np
import polars as pl
import pytest
import synthetic_scores as synthetic
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from test_judge_claims import CLAIMS, layers

from workflow_scripts.lib.claims.cases import claim_cases
from workflow_scripts.lib.claims.claim_cells import claim_cells
from workflow_scripts.lib.claims.contributions import placements, rank_products
from workflow_scripts.lib.claims.paper_claims import TESTS
from workflow_scripts.lib.claims.scores import Scores
from workflow_scripts.lib.claims.selectivity import beats_chance, selectivity
from workflow_scripts.lib.report.claims_page import selectivity_table


def cells(scores: Scores, *keys: str) -> pl.DataFrame:
    return claim_cells([CLAIMS[key] for key in keys], TESTS, scores)


def test_layers_that_decide_nothing_stand_beside_those_that_do() -> None:
    scores = synthetic.scores(value=synthetic.value_table(layers(0.8, 0.7, (1, 2, 4, 6))))
    found = cells(scores, "value_read", "value_layers")
    read = found.filter(pl.col("key") == "value_read")
    assert read.select("run", "layer", "decides").rows() == [("m/d", layer, layer in (2, 4)) for layer in (1, 2, 4, 6)]
    verdict = TESTS["value_read"].judge(scores, CLAIMS["value_read"])
    assert read.filter("decides")["value"].mean() == pytest.approx(verdict.value)
    assert (read["ci_low"] < read["value"]).all() and set(read["margin"]) == {0.55}
    every = found.filter(pl.col("key") == "value_layers")
    assert every["decides"].all() and len(every) == 8  # a level and a loss of each layer
    assert set(every.filter(pl.col("comparison").str.ends_with("difference"))["margin"]) == {-0.02}


def test_pairs_of_runs_are_cells_too() -> None:
    found = cells(synthetic.scores(overlap=synthetic.overlap_table(0.9, 4)), "transfer_datasets")
    assert found.select("run", "layer", "decides", "n").rows() == [
        ("m/d and m/e", 2, True, 4),
        ("m/d and m/e", 3, True, 4),
        ("m/d and m/e", 5, False, 4),
    ]


def test_an_opponent_that_was_never_measured_has_no_cell() -> None:
    table = synthetic.masks_table({2: {"value": 0.3, "ntp": 0.1}}, 200)
    found = cells(synthetic.scores(masks=table), "value_specific")
    assert found.select("comparison", "value").rows() == [("ntp", pytest.approx(-0.2, abs=0.01))]


def shuffled_table(auc: float, n: int = 4000, shuffles: int = 6) -> pl.DataFrame:
    """Value scores whose shuffled labels reach this AUC, at two layers."""
    table = synthetic.value_table(layers(0.8, 0.8, (2, 3)), n).sort("layer", "prune_ratio", maintain_order=True)
    found = []
    for seed, part in enumerate(table.partition_by("layer", "prune_ratio", maintain_order=True)):
        rng = np.random.default_rng(seed)
        scores = synthetic.separated(part["reward"].to_numpy().astype(float), auc, shuffles, rng, own=1.0)
        found.append(part.with_columns(shuffled=synthetic.lists(scores)))
    return pl.concat(found)


@pytest.mark.parametrize(("auc", "alarm"), [(0.5, False), (0.6, True)])
def test_shuffled_labels_that_beat_chance_raise_an_alarm(auc: float, alarm: bool) -> None:
    row = selectivity(synthetic.scores(value=shuffled_table(auc))).row(0, named=True)
    assert (row["place"], row["shuffles"], row["alarm"]) == ("initial", 6, alarm)
    assert row["shuffled"] == pytest.approx(auc, abs=0.02) and row["true"] == pytest.approx(0.8, abs=0.03)
    assert row["selectivity"] == pytest.approx(row["true"] - row["shuffled"])
    assert row["ci_low"] < row["selectivity"] < row["ci_high"]


def test_chance_alone_raises_the_alarm_once_in_a_hundred() -> None:
    rng = np.random.default_rng(0)
    drawn = [beats_chance(0.5 + 0.03 * rng.normal(size=3), 0.5) for _ in range(4000)]
    assert np.mean(np.array(drawn) < 0.01) == pytest.approx(0.01, abs=0.005)
    assert beats_chance(np.full(3, 0.5), 0.5) == 1.0 and beats_chance(np.full(3, 0.6), 0.5) == 0.0


def test_two_shuffles_raise_none_and_say_why() -> None:
    row = selectivity(synthetic.scores(value=shuffled_table(0.9, shuffles=2))).row(0, named=True)
    assert not row["alarm"] and row["p_value"] is None and "only 2 shuffles" in row["reason"]


def test_where_all_answers_are_right_nothing_is_measured_and_the_page_says_so() -> None:
    table = shuffled_table(0.5, n=40, shuffles=3).with_columns(reward=pl.lit(1))
    found = selectivity(synthetic.scores(value=table))
    row = found.row(0, named=True)
    assert (row["true"], row["shuffled"], row["p_value"], row["alarm"]) == (None, None, None, False)
    assert "shuffles" not in row["reason"]
    assert [cell.text for cell in selectivity_table(found.to_dicts(), "95 %").rows[0].cells][2:] == [
        *("–", "–", "3", "–", "–", "no")
    ]
    assert claim_cases(list(CLAIMS.values()), TESTS, synthetic.scores(value=table)).is_empty()


@pytest.mark.parametrize("n", [11, 200])
def test_contributions_average_to_what_they_are_part_of(n: int) -> None:
    rng = np.random.default_rng(n)
    rewards, scores = (np.arange(n) % 3 == 0).astype(float), rng.integers(0, 6, (2, n)).astype(float)
    placed = placements(scores, rewards)
    auc = np.mean([roc_auc_score(rewards, row) for row in scores])
    assert placed[rewards == 1].mean() == pytest.approx(auc) == pytest.approx(placed[rewards == 0].mean())
    delta = rng.normal(size=n)
    assert rank_products(scores, delta).mean() == pytest.approx(np.mean([spearmanr(row, delta)[0] for row in scores]))
    assert np.isnan(placements(scores, np.ones(n))).all() and (rank_products(np.zeros((1, n)), delta) == 0).all()


def test_the_worst_case_is_the_response_that_speaks_most_against_the_claim() -> None:
    table = synthetic.value_table(layers(0.85, 0.85, (3,)), 300)
    wrong = table.filter(pl.col("reward") == 0)["problem_id"][0]
    fooled = pl.when(pl.col("problem_id") == wrong).then(pl.lit([99.0] * 3, dtype=pl.List(pl.Float32)))
    scores = synthetic.scores(value=table.with_columns(true=fooled.otherwise(pl.col("true"))))
    found = claim_cases([CLAIMS["value_read"]], TESTS, scores).rows_by_key("case", named=True, unique=True)
    assert found["worst"]["problem_id"] == wrong and found["worst"]["contribution"] == 0.0
    typical = found["typical"]
    assert abs(typical["contribution"] - typical["average"]) < 0.02 and typical["origin"] == "rollouts"


def test_the_worst_case_of_harm_is_an_answer_that_ablation_did_not_break() -> None:
    harm = {2: {"value": 0.3, "ntp": 0.1, "magnitude": 0.1, "wanda": 0.1}}
    scores = synthetic.scores(masks=synthetic.masks_table(harm, 200))
    found = claim_cases([CLAIMS["value_necessary"], CLAIMS["value_specific"]], TESTS, scores)
    assert found.filter(pl.col("case") == "worst")["contribution"].to_list() == [0.0, 0.0]
    assert set(found["origin"]) == {"masked"} and set(found["layer"]) == {2}


def test_claims_on_sets_of_neurons_rest_on_no_response() -> None:
    scores = synthetic.scores(overlap=synthetic.overlap_table(0.9, 4))
    assert claim_cases([CLAIMS["transfer_datasets"]], TESTS, scores).is_empty()
