import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import synthetic_results as synthetic
from scipy.stats import hypergeom
from sides import side, sides

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.bootstrap import accuracy
from workflow_scripts.lib.statistics.intervals import Resampling, wilson
from workflow_scripts.lib.statistics.paired import change, contrast, mcnemar, overlap, sign_flips
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.tabulate_interventions import main

AGREED = "model dataset layer selection draw n_neurons n accuracy change ci_low ci_high p_value"
WANTED = {
    "table2": AGREED,
    "table5": AGREED,
    "intervention_contrasts": "model dataset layer against n_draws n accuracy_value accuracy_other difference ci_low "
    "ci_high p_value reason",
    "neuron_overlap": "model dataset layer share first second draw n_neurons shared overlap chance chance_high p_value",
    "dose_response": "model dataset layer selection draw share mode factor n_neurons n accuracy ci_low ci_high change "
    "change_low change_high p_value largest_miss",
}
HOW = Resampling(confidence=0.95, resamples=400, seed=0)
HARM = {"value": 0.6, "magnitude": 0.6}
SMALL = synthetic.INTERVENTIONS | {"layers": [2], "selections": ["value", "random"], "draws": 2, "dose_layers": []}


def rollouts_of(folder: Path, n: int = 300, samples: int = 1, model: str = "grpo") -> None:
    rewards = [int(r) for r in np.random.default_rng(0).random(n * samples) < 0.6]
    names = [f"p-{i:06d}" for i in range(n)]
    frame = synthetic.rollouts(names, rewards, samples)
    for shard, part in enumerate((frame[: len(frame) // 2], frame[len(frame) // 2 :])):
        write_parquet(part, folder / "rollouts" / model / "ledger" / f"{shard}.parquet")


def small_study(folder: Path, harm: dict[str, float] = HARM, n: int = 60) -> list[str]:
    rollouts_of(folder, n)
    synthetic.write_masked(folder, "grpo", "ledger", harm, SMALL)
    return synthetic.intervention_arguments(folder, SMALL)


def table(folder: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(folder / "tables" / f"{name}.parquet")


def by_layer(folder: Path, name: str) -> pl.DataFrame:
    return table(folder, name).drop_nulls("layer")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    rollouts_of(folder)
    synthetic.write_masked(folder, "grpo", "ledger", HARM, n_problems=250)
    main(synthetic.intervention_arguments(folder))
    return folder


def test_columns_start_with_the_agreed_ones(study: Path) -> None:
    for name, columns in WANTED.items():
        agreed = columns.split()
        assert table(study, name).columns[: len(agreed)] == agreed


def test_every_condition_of_the_tables_has_its_row(study: Path) -> None:
    second, fifth = table(study, "table2"), table(study, "table5")
    # A layer: unmasked, four selections, three random ones of three draws; then the averages over both layers.
    assert len(second) == 2 * (1 + 4 + 3 * 3) + (1 + 4 + 3)
    assert len(fifth) == 2 * (1 + 2 + 3) + (1 + 2 + 1)
    assert set(fifth["selection"]) == {"none", "value", "value_final", "random"}
    assert "value_final" not in set(second["selection"])
    assert second["n"].unique().to_list() == [250]  # of 300 problems with rollouts
    assert second["n_neurons"].unique().sort().to_list() == [0, 2]


def test_the_unmasked_row_is_that_of_the_same_problems(study: Path) -> None:
    shards = [pl.read_parquet(study / "rollouts/grpo/ledger" / f"{i}.parquet") for i in range(2)]
    right = int(pl.concat(shards)[:250]["reward"].cast(pl.Int64).sum())
    low, high = wilson(right, 250)
    for row in by_layer(study, "table2").filter(pl.col("selection") == "none").to_dicts():
        assert (row["accuracy"], row["ci_low"], row["ci_high"]) == pytest.approx((right / 250, float(low), float(high)))
        assert (row["change"], row["draw"], row["p_value"]) == (0, 0, None)
        assert row["reason"] == "the unmasked run itself: no change to test"


def test_no_interval_has_width_zero_and_each_holds_its_number(study: Path) -> None:
    for name in ("table2", "table5", "dose_response"):
        for row in table(study, name).to_dicts():
            assert row["ci_low"] <= row["accuracy"] <= row["ci_high"] and row["ci_low"] < row["ci_high"]
            if row["change_low"] is None:
                assert row["selection"] == "none" or "every resample gives the same number" in row["reason"]
            else:
                assert row["change_low"] <= row["change"] <= row["change_high"] and row["reason"] is None


def test_averages_are_those_of_the_rows_above_them(study: Path) -> None:
    found = table(study, "table2")
    for row in found.filter(pl.col("layer").is_null()).to_dicts():
        above = found.filter(pl.col("selection") == row["selection"]).drop_nulls("layer")
        for name in ("accuracy", "change", "unmasked", "truncated", "mean_tokens", "n_neurons"):
            assert row[name] == pytest.approx(above[name].mean()), name
        assert (row["n"], row["draw"], row["p_value"]) == (250, None, None)
        lowest, highest = (above[name].to_list() for name in ("ci_low", "ci_high"))
        assert min(lowest) - 0.01 < row["ci_low"] < row["accuracy"] < row["ci_high"] < max(highest) + 0.01
        assert (row["change_low"] is None) == (row["selection"] == "none")


def test_the_dose_response_takes_in_the_condition_of_the_tables(study: Path) -> None:
    dose = table(study, "dose_response")
    assert dose["layer"].unique().to_list() == [2]
    held = dose.filter(pl.col("selection") == "value").select("share", "mode", "factor").rows()
    assert held == [(0.01, "zero", 0), (0.05, "zero", 0), (0.2, "zero", 0), (0.05, "scale", 0.5), (0.05, "scale", 2)]
    assert dose.filter(pl.col("selection") == "random_matched")["draw"].unique().sort().to_list() == [0, 1, 2]
    assert dose.filter(pl.col("selection") == "none").select("share", "factor").rows() == [(0.0, 1.0)]


def test_planted_harm_is_seen_and_no_harm_is_not(study: Path) -> None:
    found = table(study, "intervention_contrasts")
    rows = {(row["layer"], row["against"]): row for row in found.to_dicts()}
    for layer in (2, 4):
        for against in ("value_final", "random", "random_matched", "random_sink_free", "ntp", "wanda"):
            assert side(rows[layer, against]) == "below"
            assert rows[layer, against]["p_value"] < 0.001
        assert side(rows[layer, "magnitude"]) in ("both", "none")  # as much harm as the value neurons
        assert rows[layer, "random"]["n_draws"] == 3 and rows[layer, "ntp"]["n_draws"] == 1


def test_harmless_value_neurons_never_seem_harmful(tmp_path: Path) -> None:
    main(small_study(tmp_path, {"random": 0.7}, n=200))
    row = table(tmp_path, "intervention_contrasts").to_dicts()[0]
    assert side(row) == "above"
    main(small_study(tmp_path, {}, n=200))
    assert sides(table(tmp_path, "intervention_contrasts"))[0] in ("both", "none")


def test_one_draw_of_random_neurons_says_so(tmp_path: Path) -> None:
    one = SMALL | {"draws": 1}
    rollouts_of(tmp_path, 100)
    synthetic.write_masked(tmp_path, "grpo", "ledger", HARM, one)
    main(synthetic.intervention_arguments(tmp_path, one))
    row = table(tmp_path, "intervention_contrasts").to_dicts()[0]
    assert row["ci_high"] < 0
    assert "one draw" in row["reason"]


def test_mcnemar_by_hand() -> None:
    before = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0], dtype=bool)
    after = np.array([0, 0, 0, 0, 0, 1, 1, 1, 0], dtype=bool)
    # Five lost and one gained: P(at most 1 or at least 5 of 6 heads) = 2 (1 + 6) / 64.
    assert mcnemar(before, after) == pytest.approx(14 / 64)
    assert mcnemar(before, before) == 1


def test_sign_flips_by_hand_and_with_many_problems() -> None:
    rng = generator(0, "test")
    assert sign_flips(np.array([1.0, 1, 1, 0]), rng) == pytest.approx(2 / 8)
    assert sign_flips(np.array([1.0, 1, -1]), rng) == 1
    assert sign_flips(np.zeros(4), rng) == 1
    assert sign_flips(np.ones(40), rng) == pytest.approx(1 / 10_001)
    halves = np.tile([1.0, -1.0], 20)
    assert sign_flips(halves, rng) == 1


def test_a_change_by_hand() -> None:
    unmasked = np.array([1.0, 1, 1, 1, 0, 0, 1, 1, 0, 1])
    masked = np.array([0.0, 0, 1, 1, 1, 0, 0, 1, 0, 0])
    found = change(masked, unmasked, np.arange(10), HOW)
    assert found.found.value == pytest.approx(-0.3)
    assert found.p_value == pytest.approx(2 * (1 + 5) / 32)  # four lost, one gained
    assert found.found.low is not None and found.found.low < -0.3 < (found.found.high or 0) < 0.2
    same = change(unmasked, unmasked, np.arange(10), HOW)
    assert (same.found.value, same.found.low, same.p_value) == (0, None, 1)


def test_responses_to_one_problem_count_once() -> None:
    rng = np.random.default_rng(1)
    masked, unmasked = (rng.random(60) < 0.5).astype(float), (rng.random(60) < 0.5).astype(float)
    single = change(masked, unmasked, np.arange(60), HOW)
    repeated = change(np.repeat(masked, 8), np.repeat(unmasked, 8), np.repeat(np.arange(60), 8), HOW)
    assert repeated.found == single.found
    assert repeated.p_value == pytest.approx(single.p_value, abs=0.05)


def test_an_accuracy_of_zero_has_an_interval_with_several_responses_too() -> None:
    names = [f"p-{i:06d}" for i in range(50)]
    found = accuracy(synthetic.rollouts(names, [0] * 200, samples=4), HOW)
    assert found == pytest.approx((0.0, *(float(limit) for limit in wilson(0, 50))))


def test_an_overlap_by_hand() -> None:
    found = overlap({0, 1}, {1, 2}, 10, 0.95)
    assert (found.n_neurons, found.shared, found.overlap, found.chance) == (2, 1, 0.5, 0.2)
    assert found.p_value == pytest.approx(1 - 28 / 45)  # none shared: (8 choose 2) of (10 choose 2)
    assert found.chance_high == 0.5
    assert overlap(set(range(38)), set(range(38, 76)), 192, 0.95).p_value == pytest.approx(1)
    assert overlap(set(range(38)), set(range(38)), 192, 0.95).p_value == pytest.approx(hypergeom.pmf(38, 192, 38, 38))


def test_overlaps_are_those_of_the_tables_share(study: Path) -> None:
    found = table(study, "neuron_overlap")
    assert found["share"].unique().to_list() == [0.01] and found["first"].unique().to_list() == ["value"]
    assert len(found) == 2 * (4 + 9)
    ntp = found.filter(pl.col("second") == "ntp")
    assert ntp.select("n_neurons", "shared", "overlap").rows() == [(2, 1, 0.5)] * 2
    assert ntp["chance"].to_list() == pytest.approx([2 / 192] * 2)
    assert ntp["p_value"].to_list() == pytest.approx([1 - (190 * 189) / (192 * 191)] * 2)


@pytest.mark.parametrize("spread", [0.0, 0.06])
def test_the_interval_of_a_contrast_covers_a_null_as_often_as_it_says(spread: float) -> None:
    # Sets of neurons differ in their harm by `spread`; the value neurons do as much as random ones do on average.
    rng = np.random.default_rng(5)
    covered, rounds, n, draws = 0, 200, 300, 3
    for _ in range(rounds):
        chance = rng.uniform(0.2, 0.9, n)
        harm = rng.normal(0, spread, draws + 1)
        rewards = rng.random((n, draws + 1)) < np.clip(chance[:, None] - harm, 0, 1)
        how = Resampling(0.95, 200, int(rng.integers(1000)))
        rewards = rewards.astype(float)
        value = (rng.random(n) < chance).astype(float)
        found = contrast(value, rewards[:, 1:], np.arange(n), how).found
        assert found.low is not None and found.high is not None
        covered += found.low <= 0 <= found.high
    assert 0.92 <= covered / rounds <= 1


def test_shards_in_any_order_and_number_give_the_same_bytes(tmp_path: Path) -> None:
    arguments = small_study(tmp_path)
    main(arguments)
    first = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    assert len(first) == 10
    flags = [i for i, word in enumerate(arguments) if word.startswith("--")] + [len(arguments)]
    parts = [arguments[a:b] for a, b in pairwise(flags)]
    main([word for part in parts for word in (part[0], *reversed(part[1:]))])
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    synthetic.write_masked(tmp_path, "grpo", "ledger", HARM, SMALL, shards=3)
    main(synthetic.intervention_arguments(tmp_path, SMALL))
    for name in WANTED:
        before = pl.read_parquet(first[f"{name}.parquet"])
        assert table(tmp_path, name).equals(before)


def test_csv_and_parquet_hold_the_same_rows(study: Path) -> None:
    for name in WANTED:
        frame = table(study, name)
        read = pl.read_csv(study / "tables" / f"{name}.csv", schema=frame.schema)
        assert read.equals(frame)


def test_a_study_without_interventions_has_tables_without_rows(tmp_path: Path) -> None:
    main(synthetic.intervention_arguments(tmp_path))
    for name, columns in WANTED.items():
        frame = table(tmp_path, name)
        assert frame.is_empty() and set(columns.split()) <= set(frame.columns)
        assert (tmp_path / "tables" / f"{name}.csv").read_text().startswith("model,dataset,layer,")


def test_problems_with_several_responses(tmp_path: Path) -> None:
    rollouts_of(tmp_path, 80, samples=3)
    synthetic.write_masked(tmp_path, "grpo", "ledger", HARM, SMALL)
    main(synthetic.intervention_arguments(tmp_path, SMALL))
    found = by_layer(tmp_path, "table2")
    assert found["n"].unique().to_list() == [80]
    value = found.filter(pl.col("selection") == "value").to_dicts()[0]
    assert value["p_value"] == pytest.approx(1 / 10_001)
    assert value["change"] == pytest.approx(value["accuracy"] - value["unmasked"])


def test_neurons_held_at_their_mean_keep_their_dose_at_zero(tmp_path: Path) -> None:
    mean = SMALL | {"mode": "mean", "dose_layers": [2], "dose_selections": ["value"]}
    rollouts_of(tmp_path, 60)
    synthetic.write_masked(tmp_path, "grpo", "ledger", HARM, mean)
    main(synthetic.intervention_arguments(tmp_path, mean))
    assert by_layer(tmp_path, "table2").filter(pl.col("selection") == "value")["mode"].to_list() == ["mean"]
    dose = table(tmp_path, "dose_response").filter(pl.col("mode") == "zero")
    assert dose["share"].to_list() == [0.01, 0.05, 0.2]


def rewrite(path: Path, edit: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    write_parquet(edit(pl.read_parquet(path)), path)


def test_more_positions_held_than_processed_are_an_engines_padding(tmp_path: Path) -> None:
    arguments = small_study(tmp_path)
    for path in tmp_path.rglob("*.proofs.parquet"):
        rewrite(path, lambda frame: frame.with_columns(changed=pl.lit(5001)))
    main(arguments)
    assert (tmp_path / "tables" / "table2.csv").exists()


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "not every position": ({"changed": 4999}, "4999 of 5000 positions were masked"),
    "nothing processed": ({"processed": 0, "changed": 0}, "0 of 0 positions were masked"),
    "not the wanted value": ({"largest_miss": 1e-7}, "largest error 1e-07"),
    "not a number": ({"largest_miss": float("nan")}, "largest error nan"),
    "empty": ({"largest_miss": None}, "largest error None"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_proof_that_does_not_hold_is_refused(tmp_path: Path, case: str) -> None:
    arguments = small_study(tmp_path)
    broken, message = BROKEN[case]
    here = (pl.col("selection") == "random") & (pl.col("draw") == 1)
    columns = [
        pl.when(here)
        .then(pl.lit(value, pl.Float64 if name == "largest_miss" else pl.Int64))
        .otherwise(name)
        .alias(name)
        for name, value in broken.items()
    ]
    rewrite(tmp_path / "masked/grpo/ledger/2/1.proofs.parquet", lambda frame: frame.with_columns(columns))
    with pytest.raises(UserError) as refusal:
        main(arguments)
    text = str(refusal.value)
    assert "2/1.proofs.parquet: layer 2, random draw 1, share 0.01, zero: " in text and message in text
    assert text.endswith("delete the file and run again") and "\n" not in text
    assert not (tmp_path / "tables").exists()


def test_a_condition_without_a_proof_is_refused(tmp_path: Path) -> None:
    arguments = small_study(tmp_path)
    path = tmp_path / "masked/grpo/ledger/2/0.proofs.parquet"
    rewrite(path, lambda frame: frame.filter(pl.col("selection") != "value"))
    with pytest.raises(UserError, match=r"2/0\.parquet: layer 2, value, share 0\.01, zero: no mask check"):
        main(arguments)
    with pytest.raises(UserError, match=r"2/0\.parquet: .*no mask check"):
        main([word for word in arguments if not word.endswith(".proofs.parquet")])


def test_masked_responses_without_an_unmasked_twin_are_refused(tmp_path: Path) -> None:
    arguments = small_study(tmp_path)
    gone = str(tmp_path / "rollouts/grpo/ledger/1.parquet")
    with pytest.raises(UserError, match=r"1\.parquet: problem p-000030, sample 0 has no unmasked response"):
        main([word for word in arguments if word != gone])


def test_shards_that_overlap_are_refused(tmp_path: Path) -> None:
    arguments = small_study(tmp_path)
    first, second = (tmp_path / f"masked/grpo/ledger/2/{i}.parquet" for i in range(2))
    rewrite(second, lambda frame: pl.concat([pl.read_parquet(first)[:1], frame]))
    with pytest.raises(UserError, match=r"2/1\.parquet: problem p-000000, sample 0 is in .*2/0\.parquet as well"):
        main(arguments)


def test_conditions_on_different_problems_are_refused(tmp_path: Path) -> None:
    arguments = small_study(tmp_path)
    last = (pl.col("selection") == "random") & (pl.col("draw") == 1) & (pl.col("problem_id") == "p-000059")
    rewrite(tmp_path / "masked/grpo/ledger/2/1.parquet", lambda frame: frame.filter(~last))
    with pytest.raises(UserError, match=r"ledger/2: layer 2, random draw 1, .* 59 of the run's 60 problems"):
        main(arguments)


def test_a_configured_condition_without_responses_is_refused(tmp_path: Path) -> None:
    small_study(tmp_path)
    arguments = synthetic.intervention_arguments(tmp_path, SMALL | {"selections": ["value", "random", "ntp"]})
    with pytest.raises(UserError, match=r"results/masked/grpo/ledger: layer 2, ntp, share 0\.01, zero: no responses"):
        main(arguments)


def test_the_neurons_of_every_run_are_needed(tmp_path: Path) -> None:
    arguments = small_study(tmp_path)
    neurons = str(tmp_path / "neurons/grpo/ledger.parquet")
    with pytest.raises(UserError, match=r"--neurons: no file grpo/ledger\.parquet"):
        main([word for word in arguments if word != neurons])


def test_runs_are_kept_apart(tmp_path: Path) -> None:
    for model in ("ppo", "grpo"):
        rollouts_of(tmp_path, 60, model=model)
        synthetic.write_masked(tmp_path, model, "ledger", HARM if model == "ppo" else {}, SMALL)
    main(synthetic.intervention_arguments(tmp_path, SMALL))
    grpo, ppo = table(tmp_path, "intervention_contrasts").to_dicts()
    assert (grpo["model"], ppo["model"], side(ppo)) == ("grpo", "ppo", "below") and side(grpo) in ("both", "none")


def test_only_what_the_rule_passes_is_read(tmp_path: Path) -> None:
    arguments = small_study(tmp_path)
    sections = json.loads(arguments[1])
    names = "layers selections share mode dose_layers dose_selections dose_shares dose_factors dose_factor_share"
    assert set(sections["interventions"]) == {*names.split(), "draws"}
    del sections["interventions"]["draws"]
    main([arguments[0], json.dumps(sections), *arguments[2:]])
