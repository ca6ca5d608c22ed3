"""Verdicts on claims, from scores with a known truth: the cases that earlier rules judged wrongly, at several sizes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import synthetic_scores as synthetic
import yaml

from workflow_scripts import judge_claims
from workflow_scripts.lib.claims.claim import Claim
from workflow_scripts.lib.claims.decide import Decision
from workflow_scripts.lib.claims.paper_claims import TESTS
from workflow_scripts.lib.claims.scores import Scores
from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from workflow_scripts.lib.storage.tables import write_parquet

PUBLISHED = Path(__file__).resolve().parents[2] / "resources" / "published" / "claims.yaml"
ENTRIES: list[dict[str, Any]] = yaml.safe_load(PUBLISHED.read_text())["claims"]
CLAIMS = {entry["key"]: Claim(**entry) for entry in ENTRIES}


def judged(key: str, scores: Scores) -> Decision:
    return TESTS[key].judge(scores, CLAIMS[key])


def layers(full: float, sparse: float, which: tuple[int, ...] = (2, 3, 4)) -> dict[tuple[str, str, int], Any]:
    return {("m", "d", layer): (full, sparse) for layer in which}


def test_every_claim_has_a_test_and_every_test_a_claim() -> None:
    assert [entry["key"] for entry in ENTRIES] == list(TESTS)
    assert all(len(test.words) > 50 and test.source and test.family for test in TESTS.values())
    assert all(claim.direction in ("above", "below") and claim.estimand for claim in CLAIMS.values())


def test_runs_that_claims_name_are_the_papers() -> None:
    paper = yaml.safe_load((PUBLISHED.parents[2] / "studies" / "paper.yaml").read_text())
    known = {run for section in paper.values() if isinstance(section, dict) for run in section.get("runs", [])}
    named = {run for claim in CLAIMS.values() for run in claim.runs or ()}
    assert named and named <= known


def test_a_study_without_the_papers_runs_is_judged_on_all_of_its_own() -> None:
    table = synthetic.value_table(layers(0.8, 0.8) | {("m", "e", 2): (0.6, 0.6)}, 300)
    renamed = table.with_columns(
        model=pl.when(pl.col("dataset") == "d").then(pl.lit("simplerl-14b")).otherwise("model"),
        dataset=pl.when(pl.col("dataset") == "d").then(pl.lit("math500")).otherwise("dataset"),
    )
    own, papers = (judged("value_read", synthetic.scores(value=one)) for one in (table, renamed))
    assert own.value is not None and papers.value is not None
    assert own.value < 0.78 < papers.value and own.n == 600 and papers.n == 300


def test_what_was_not_measured_is_undecided() -> None:
    for key in TESTS:
        found = judged(key, synthetic.scores())
        assert (found.verdict, found.value, found.needed_n) == (UNDECIDED, None, None)
        assert "measured" in found.evidence


@pytest.mark.parametrize("n", [100, 300, 900])
def test_a_level_is_compared_with_chance_and_the_margin(n: int) -> None:
    for auc, verdict in ((0.8, SUPPORTED), (0.5, CONTRADICTED if n > 300 else None), (0.55, UNDECIDED)):
        found = judged("value_read", synthetic.scores(value=synthetic.value_table(layers(auc, auc), n)))
        assert verdict is None or found.verdict == verdict, (auc, found)
        assert found.n == n and found.n_rarer == n // 2 and found.margin == 0.55


def test_layers_that_the_paper_does_not_name_decide_nothing() -> None:
    named, others = layers(0.8, 0.8), layers(0.5, 0.5, (1, 5, 6))
    alone, both = (
        judged("value_read", synthetic.scores(value=synthetic.value_table(table))) for table in (named, named | others)
    )
    assert (alone.value, alone.ci_low) == (both.value, both.ci_low)


@pytest.mark.parametrize("n", [120, 2000])
def test_a_layer_whose_states_are_constant_is_judged_at_chance(n: int) -> None:
    """Six layers read, and layer 0 sees one embedding: the claim on every layer is judged, and layer 0 is at chance."""
    table = synthetic.value_table(layers(0.85, 0.85, tuple(range(7))), n, constant=(0,))
    found = judged("value_layers", synthetic.scores(value=table))
    assert "layer 0, level: 0.500" in found.evidence
    assert found.verdict == (CONTRADICTED if n == 2000 else UNDECIDED)
    assert found.value == 0.5 and "layer 0, level" in found.estimand
    level = judged("value_read", synthetic.scores(value=synthetic.value_table(layers(0.85, 0.85), n, constant=(3,))))
    whole = judged("value_read", synthetic.scores(value=synthetic.value_table(layers(0.85, 0.85), n)))
    assert level.value is not None and whole.value is not None
    assert level.value < whole.value - 0.08  # a third of the way to chance: it counts as exactly that


@pytest.mark.parametrize("loss", [0.06, 0.1])
def test_more_data_moves_a_verdict_on_what_is_kept_towards_the_truth(loss: float) -> None:
    """A loss beyond the margin is never called stable, and is contradicted as soon as the data allow."""
    found = [
        judged("value_sparse", synthetic.scores(value=synthetic.value_table(layers(0.8, 0.8 - loss), n))).verdict
        for n in (60, 300, 3000)
    ]
    assert SUPPORTED not in found and found[-1] == CONTRADICTED
    kept = synthetic.scores(value=synthetic.value_table(layers(0.8, 0.8), 3000))
    assert judged("value_sparse", kept).verdict == SUPPORTED


def test_nothing_is_kept_where_nothing_was_read() -> None:
    found = judged("value_sparse", synthetic.scores(value=synthetic.value_table(layers(0.5, 0.5), 400)))
    assert found.verdict == UNDECIDED and "nothing to keep" in found.evidence


def test_one_good_curve_and_five_that_are_constant_are_not_stable() -> None:
    three = {2: (0.6, 0.6), 3: (0.5, None), 4: (0.5, None)}
    found = judged("dopamine_sparse", synthetic.scores(dopamine=synthetic.dopamine_table(three)))
    assert found.verdict == CONTRADICTED and found.value == pytest.approx(-1 / 3, abs=0.06)


def test_special_inputs_beat_random_ones_by_the_margin() -> None:
    for random, verdict in ((0.5, SUPPORTED), (0.75, CONTRADICTED)):
        table = synthetic.value_table(layers(0.75, 0.75), 1500, random=random)
        assert judged("value_special", synthetic.scores(value=table)).verdict == verdict


def test_the_level_at_the_last_token_is_that_of_few_inputs_too() -> None:
    def found(sparse: float) -> Decision:
        table = synthetic.value_table(layers(0.95, sparse), 500, position="final")
        return judged("value_final", synthetic.scores(value=table))

    assert (found(0.9).verdict, found(0.6).verdict) == (SUPPORTED, CONTRADICTED)
    assert "one percent" in found(0.6).estimand


def test_every_data_set_and_at_least_two() -> None:
    good = {("m", dataset, layer): (0.85, 0.85) for dataset in ("d", "e") for layer in (2, 3)}
    weak = good | {("m", "e", layer): (0.5, 0.5) for layer in (2, 3)}
    one = {key: pair for key, pair in good.items() if key[1] == "d"}
    for table, verdict in ((good, SUPPORTED), (weak, CONTRADICTED), (one, UNDECIDED)):
        scores = synthetic.scores(value=synthetic.value_table(table, 1200))
        assert judged("value_datasets", scores).verdict == verdict
    assert judged("value_models", synthetic.scores(value=synthetic.value_table(good, 1200))).verdict == UNDECIDED


@pytest.mark.parametrize("n", [60, 200, 800])
def test_a_null_effect_counts(n: int) -> None:
    """Great harm at one layer, none at three: the average over four, with an interval that has a width."""
    harm = {2: {"value": 0.33}, 3: {"value": 0.0}, 4: {"value": 0.0}, 5: {"value": 0.0}}
    found = judged("value_necessary", synthetic.scores(masks=synthetic.masks_table(harm, n)))
    assert found.value == pytest.approx(-0.33 / 4, abs=0.01)
    alone = judged("value_necessary", synthetic.scores(masks=synthetic.masks_table({2: {"value": 0.33}}, n)))
    assert alone.value == pytest.approx(-0.33, abs=0.01)
    assert found.ci_low is not None and found.ci_high is not None and found.ci_low < -0.33 / 4 < found.ci_high


@pytest.mark.parametrize("n", [40, 200, 1000])
def test_small_harm_at_one_layer_of_four_is_no_support(n: int) -> None:
    harm = {2: {"value": 0.024}, 3: {"value": 0.0}, 4: {"value": 0.0}, 5: {"value": 0.0}}
    found = judged("value_necessary", synthetic.scores(masks=synthetic.masks_table(harm, n)))
    assert found.value == pytest.approx(-0.006, abs=0.004) and found.verdict != SUPPORTED
    none = synthetic.scores(masks=synthetic.masks_table({2: {"value": 0.0}}, n))
    nothing = judged("value_necessary", none)
    assert nothing.value == 0 and nothing.ci_low is not None and nothing.ci_high is not None
    assert nothing.ci_low < 0 < nothing.ci_high
    assert nothing.verdict == (UNDECIDED if n == 40 else CONTRADICTED)


def test_harm_that_collapses_alike_is_no_difference() -> None:
    names = ("value", "ntp", "magnitude", "wanda")
    scores = synthetic.scores(masks=synthetic.masks_table({2: dict.fromkeys(names, 0.6)}, 300))
    found = judged("value_specific", scores)
    assert found.value == 0 and found.verdict == CONTRADICTED


def test_more_harm_must_be_shown_against_every_other() -> None:
    def found(**others: float) -> Decision:
        table = synthetic.masks_table({2: {"value": 0.3, **others}, 3: {"value": 0.3, **others}}, 400)
        return judged("value_specific", synthetic.scores(masks=table))

    assert found(ntp=0.0, magnitude=0.05, wanda=0.1).verdict == SUPPORTED
    worse = found(ntp=0.0, magnitude=0.0, wanda=0.55)
    assert worse.verdict == CONTRADICTED and "wanda" in worse.estimand
    missing = found(ntp=0.0, magnitude=0.0)
    assert missing.verdict == UNDECIDED and "wanda" in missing.evidence


def test_random_neurons_are_a_sample_of_draws() -> None:
    harm = {2: {"value": 0.3, "random": 0.02, "random_matched": 0.02, "random_sink_free": 0.02}}
    table = synthetic.masks_table(harm, 400)
    assert judged("value_random", synthetic.scores(masks=table)).verdict == SUPPORTED
    few = judged("value_random", synthetic.scores(masks=table.filter(pl.col("draw") < 2)))
    assert few.verdict == UNDECIDED and "3" in few.evidence


def test_a_baseline_that_wins_where_it_is_defined_contradicts() -> None:
    """Verbal confidence is better in seven of eight runs and undefined in one."""
    verbal = {(run, "verbal"): 0.85 for run in range(7)} | {(7, "verbal"): None}
    found = judged("confidence_honest", synthetic.scores(confidence=synthetic.confidence_table(0.7, verbal)))
    assert found.verdict == CONTRADICTED and "verbal" in found.estimand and "verbal: 7 of 8 runs" in found.evidence
    never = dict.fromkeys(((run, "verbal") for run in range(8)), None)
    found = judged("confidence_honest", synthetic.scores(confidence=synthetic.confidence_table(0.9, never)))
    assert found.verdict == UNDECIDED and "verbal" in found.evidence
    found = judged("confidence_honest", synthetic.scores(confidence=synthetic.confidence_table(0.9, {})))
    assert found.verdict == SUPPORTED


@pytest.mark.parametrize(("n", "wrong"), [(40, 1), (40, 9), (200, 5)])
def test_few_problems_of_the_rarer_outcome_decide_nothing(n: int, wrong: int) -> None:
    table = synthetic.value_table(layers(0.9, 0.9), n, share=1 - wrong / n)
    found = judged("value_read", synthetic.scores(value=table))
    assert found.verdict == UNDECIDED and found.n_rarer == wrong and "rarer" in found.evidence


def test_one_probe_seed_decides_nothing_and_three_do() -> None:
    for seeds, verdict in ((1, UNDECIDED), (2, UNDECIDED), (3, SUPPORTED)):
        found = judged("transfer_datasets", synthetic.scores(overlap=synthetic.overlap_table(0.9, seeds)))
        assert (found.verdict, found.n_rarer) == (verdict, None)
    chance = judged("transfer_datasets", synthetic.scores(overlap=synthetic.overlap_table(0.005, 4)))
    assert chance.verdict == CONTRADICTED
    shared = judged("dopamine_shared", synthetic.scores(overlap=synthetic.overlap_table(0.5, 4, kind="dopamine")))
    assert shared.verdict == SUPPORTED


@pytest.mark.parametrize(("shared", "verdict"), [(0, SUPPORTED), (5, CONTRADICTED)])
def test_distinct_neurons(shared: int, verdict: str) -> None:
    kept, selected, ranks = 10, [], []
    for layer in (2, 3, 4, 5):
        of_run = {"model": "m", "dataset": "d", "layer": layer}
        selected.append(of_run | {"selection": "ntp", "share": 0.01, "draw": 0, "neurons": list(range(kept))})
        for seed in range(4):
            mine = [*range(shared), *range(100 + seed, 100 + seed + 40)]
            ranks += [of_run | {"kind": "value", "seed": seed, "neuron": x, "rank": i + 1} for i, x in enumerate(mine)]
    found = judged("value_distinct", synthetic.scores(neurons=pl.DataFrame(ranks), selected=pl.DataFrame(selected)))
    assert (found.verdict, found.value) == (verdict, pytest.approx(shared / kept))


def test_search_must_solve_more_than_every_other() -> None:
    better = {"dopamine": 0.7, "greedy": 0.5, "random": 0.5, "implicit_prm": 0.6}
    assert judged("search", synthetic.scores(search=synthetic.search_table(better, 400))).verdict == SUPPORTED
    worse = judged("search", synthetic.scores(search=synthetic.search_table(better | {"implicit_prm": 0.8}, 400)))
    assert worse.verdict == CONTRADICTED and "implicit" in worse.estimand


def test_the_order_of_rows_and_other_data_sets_change_no_verdict() -> None:
    table = synthetic.value_table(layers(0.7, 0.68), 300)
    other = synthetic.value_table({("m", "e", 2): (0.6, 0.6)}, 200)
    first = judged("value_sparse", synthetic.scores(value=table))
    shuffled = judged("value_sparse", synthetic.scores(value=table.sample(fraction=1, shuffle=True, seed=1)))
    assert first == shuffled
    claim = replace(CLAIMS["value_sparse"], runs=["m/d"])
    both = TESTS["value_sparse"].judge(synthetic.scores(value=pl.concat([table, other])), claim)
    assert (both.value, both.ci_low, both.ci_high) == (first.value, first.ci_low, first.ci_high)


def test_the_module_writes_claims_and_table_1(tmp_path: Path) -> None:
    table = synthetic.value_table(layers(0.8, 0.8), 200).drop("model", "dataset")
    path = tmp_path / "scores" / "m" / "d" / "value.parquet"
    write_parquet(table, path)
    params = {
        "pruning": {"confidence": 0.95, "bootstrap": 200, "seed": 0},
        "interventions": {"share": 0.01, "mode": "zero"},
    }
    out = ["--published", str(PUBLISHED), "--output-dir", str(tmp_path / "out")]
    judge_claims.main(["--params", json.dumps(params), "--value", str(path), *out])
    rows = pl.read_csv(tmp_path / "out" / "claims.csv")
    wanted = "key claim verdict estimand value ci_low ci_high margin n n_rarer needed_n evidence test"
    assert rows.columns[:13] == wanted.split() and len(rows) == len(TESTS)
    assert set(rows["verdict"]) <= {SUPPORTED, CONTRADICTED, UNDECIDED}
    supported = rows.filter(pl.col("key") == "value_read").to_dicts()[0]
    assert supported["verdict"] == SUPPORTED and supported["ci_low"] > supported["margin"]
    levels = pl.read_csv(tmp_path / "out" / "table1.csv").filter(pl.col("place") == "initial")
    assert levels["value"].is_between(0.4, 0.9).all() and np.isfinite(levels["ci_low"].to_numpy()).all()
