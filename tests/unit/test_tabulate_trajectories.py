"""Tables of trajectories: planted neurons are found, noise is not, harm is seen, what cannot be decided says why."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import traced_runs as runs
from sides import side

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.statistics.intervals import Resampling
from workflow_scripts.lib.statistics.ranks import spearman
from workflow_scripts.lib.trajectories.contrasts import contrast_means, contrast_strengths, mean_spearman
from workflow_scripts.lib.trajectories.traces import Traced, write_trace
from workflow_scripts.tabulate_trajectories import main

HOW = Resampling(confidence=0.95, resamples=300, seed=0)
AGREED = {
    "trajectories": "model dataset layer neuron kind rank sign n n_problems spearman ci_low ci_high spearman_all "
    "reason",
    "trajectory_ablation": "model dataset layer neuron condition draw n correlation ci_low ci_high rmse rmse_low "
    "rmse_high spearman spearman_low spearman_high reason",
    "peaks": "model dataset layer kind neighbour n n_problems spearman spearman_neighbour difference ci_low ci_high "
    "reason",
    "ablation_contrasts": "model dataset layer against measure n_draws n value other difference ci_low ci_high p_value "
    "reason",
}
HARM = {"none": 0.0, "value": 1.5, "random": 0.1, "random_matched": 0.1}


def study(
    folder: Path, traced: list[Traced], frames: list[pl.DataFrame], layers: list[int] | None = None, **how: Any
) -> dict[str, pl.DataFrame]:
    flags = ["--params", json.dumps({"pruning": {"bootstrap": 300, "confidence": 0.95, "seed": 0} | how}), "--traced"]
    for one in traced:
        path = folder / one.model / f"{one.dataset}.parquet"
        write_trace(one, path)
        flags.append(str(path))
    flags.append("--ablated")
    for one, frame in zip(traced, frames, strict=False):
        path = folder / one.model / one.dataset / "ablated.parquet"
        runs.write_ablated(frame, path, [1] if layers is None else layers)
        flags.append(str(path))
    scores = ["--scores", str(folder / "scores.parquet"), "--ablated-scores", str(folder / "ablated.parquet")]
    main([*flags, *scores, "--output-dir", str(folder / "tables")])
    return {name: pl.read_parquet(folder / "tables" / f"{name}.parquet") for name in AGREED}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    traced = runs.planted()
    return study(tmp_path_factory.mktemp("study"), [traced], [runs.ablated_frame(traced, HARM)])


def one_row(table: pl.DataFrame, **wanted: Any) -> dict[str, Any]:
    mine = table.filter(pl.col(name).eq_missing(pl.lit(value)) for name, value in wanted.items())
    assert len(mine) == 1
    return mine.row(0, named=True)


def test_columns_start_with_the_agreed_ones(found: dict[str, pl.DataFrame]) -> None:
    for name, columns in AGREED.items():
        assert found[name].columns[: len(columns.split())] == columns.split()


def test_planted_neurons_are_found_with_their_signs_and_noise_is_not(found: dict[str, pl.DataFrame]) -> None:
    table = found["trajectories"]
    for neuron, sign in ((7, -1), (3, 1)):
        row = one_row(table, neuron=neuron)
        assert row["sign"] == sign and row["spearman"] > 0.9 and row["ci_low"] > 0.75 and row["spearman_all"] > 0.95
    for neuron in (20, 21):
        row = one_row(table, neuron=neuron)
        assert row["ci_low"] < 0 < row["ci_high"] or abs(row["spearman"]) < 0.3
    mean = one_row(table, neuron=None, kind="dopamine")
    assert mean["spearman"] == pytest.approx(
        table.filter(pl.col("kind") == "dopamine", neuron=7)["spearman"][0], abs=0.08
    )
    assert one_row(table, neuron=None, kind="difference")["ci_low"] > 0.5


def test_only_kept_paragraphs_of_validation_problems_count(found: dict[str, pl.DataFrame]) -> None:
    responses = runs.planted().of("validation").responses
    kept = responses["kept"].explode().to_numpy()
    delta = responses["deltas"].explode().to_numpy()[kept]
    tokens = np.array(responses["activations"].to_list())[:, 0]
    own = -tokens.reshape(-1, 4, 3).mean(2).reshape(-1)[kept]
    row = one_row(found["trajectories"], neuron=7)
    assert row["n"] == kept.sum() and row["n_all"] == len(kept) and row["n_problems"] <= 20
    assert row["spearman"] == pytest.approx(float(spearman(own, delta)), abs=1e-3)


def test_each_condition_is_told_beside_the_unablated_pass(found: dict[str, pl.DataFrame]) -> None:
    table = found["trajectory_ablation"]
    assert len(table) == (1 + 1 + 3 + 3) * (1 + 2)
    none = one_row(table, neuron=None, condition="none", draw=0)
    assert none["correlation"] is None and "the unablated pass itself" in none["reason"] and none["spearman"] > 0.9
    value = one_row(table, neuron=None, condition="value", draw=0)
    for neuron in (7, 3):
        assert one_row(table, neuron=neuron, condition="value", draw=0)["n"] == value["n"] == 20
    assert value["ci_low"] <= value["correlation"] <= value["ci_high"] < 0.6
    assert 1.2 < value["rmse_low"] <= value["rmse"] <= value["rmse_high"] < 1.8
    assert value["spearman"] < none["spearman"] and value["largest_miss"] == 0
    assert one_row(table, neuron=7, condition="random", draw=2)["correlation"] > 0.85


def test_more_change_under_value_ablation_is_seen_by_every_measure(found: dict[str, pl.DataFrame]) -> None:
    table = found["ablation_contrasts"]
    assert len(table) == 2 * 4
    assert {row["measure"]: side(row) for row in table.to_dicts()} == {
        measure: "above" if measure == "rmse" else "below" for measure in table["measure"]
    }
    row = one_row(table, against="random", measure="correlation")
    assert row["difference"] == pytest.approx(row["value"] - row["other"]) and row["ci_high"] < 0
    assert row["p_value"] < 0.01 and row["n_draws"] == 3 and row["reason"] is None
    assert one_row(table, against="random", measure="rmse")["ci_low"] > 0


def test_no_difference_leaves_zero_within_and_less_change_is_on_the_other_side(tmp_path: Path) -> None:
    traced = runs.planted()
    other = {"correlation": "above", "rmse": "below"}
    for value, wanted in ((0.5, dict.fromkeys(other, "both")), (0.05, other)):
        frame = runs.ablated_frame(traced, {"none": 0.0, "value": value, "random": 0.5})
        table = study(tmp_path, [traced], [frame])["ablation_contrasts"]
        chosen = table.filter(pl.col("measure").is_in(["correlation", "rmse"]))
        assert {row["measure"]: side(row) for row in chosen.to_dicts()} == wanted


def test_one_draw_says_so(tmp_path: Path) -> None:
    traced = runs.planted()
    table = study(tmp_path, [traced], [runs.ablated_frame(traced, HARM, draws=1)])["ablation_contrasts"]
    assert len(table) and all("one draw of random neurons" in reason for reason in table["reason"])


def test_neurons_whose_own_coordinate_is_held_are_set_apart(tmp_path: Path) -> None:
    traced = runs.planted()
    frame = runs.ablated_frame(traced, HARM)
    own = pl.when((pl.col("condition") == "value") & (pl.col("neuron") == 7)).then(1).otherwise("own_layers")
    table = study(tmp_path, [traced], [frame.with_columns(own_layers=own)])["ablation_contrasts"]
    apart = one_row(table, against="random", measure="correlation_apart")
    assert apart["n_neurons"] == 1
    mine = frame.filter((pl.col("split") == "validation") & (pl.col("neuron") == 3) & (pl.col("condition") == "value"))
    assert apart["value"] == pytest.approx(mine["correlation"].mean())
    table = study(tmp_path, [traced], [runs.ablated_frame(traced, HARM, own_layers=1)])["ablation_contrasts"]
    apart = one_row(table, against="random", measure="correlation_apart")
    assert apart["difference"] is None and apart["ci_low"] is None
    assert apart["reason"] == "each followed neuron's own coordinate is among the ablated ones"


def test_rows_in_another_order_give_the_same_tables(tmp_path: Path, found: dict[str, pl.DataFrame]) -> None:
    traced = runs.planted()
    frame = runs.ablated_frame(traced, HARM)
    mixed = frame.sample(fraction=1, shuffle=True, seed=1).sort("condition", "draw", maintain_order=True)
    again = study(tmp_path, [traced], [mixed])
    key = ["against", "measure"]
    assert again["ablation_contrasts"].sort(key).equals(found["ablation_contrasts"].sort(key))
    assert again["trajectories"].equals(found["trajectories"])


def test_planted_neurons_peak_on_their_own_paragraphs(found: dict[str, pl.DataFrame]) -> None:
    for neighbour in ("previous", "next"):
        row = one_row(found["peaks"], kind="dopamine", neighbour=neighbour)
        assert row["spearman"] > 0.85 and row["ci_low"] > 0.2 and row["layer"] == runs.LAYER
        assert 0 < row["n"] < one_row(found["trajectories"], kind="dopamine", neuron=None)["n"]


def test_two_runs_come_in_the_order_of_their_names(tmp_path: Path) -> None:
    several = [runs.planted(dataset="locks", seed=1), runs.planted(dataset="ledger")]
    found = study(tmp_path, several, [])
    assert found["trajectories"]["dataset"].unique(maintain_order=True).to_list() == ["ledger", "locks"]
    assert len(found["trajectory_ablation"]) == 0


def test_nothing_asked_and_nothing_ablated_give_empty_tables(tmp_path: Path) -> None:
    for traced, layers in (([], None), ([runs.planted(4)], [])):
        found = study(tmp_path, traced, [pl.DataFrame({"condition": []})] * len(traced), layers)
        assert len(found["ablation_contrasts"]) == len(found["trajectory_ablation"]) == 0
        assert found["ablation_contrasts"].columns[:14] == AGREED["ablation_contrasts"].split()
        assert found["trajectories"].schema["kind"] == found["peaks"].schema["neighbour"] == pl.String
        assert len(found["peaks"]) == 6 * len(traced)
    assert len(found["trajectories"]) == 4 + 3


@pytest.mark.parametrize("n", [1, 2, 3])
def test_a_few_problems_still_give_tables_that_say_why(tmp_path: Path, n: int) -> None:
    traced = runs.planted(n)
    found = study(tmp_path, [traced], [runs.ablated_frame(traced, HARM)])
    for table, value in (("trajectories", "spearman"), ("ablation_contrasts", "difference")):
        rows = found[table]
        assert rows.filter(pl.col(value).is_null() | pl.col("ci_low").is_null())["reason"].is_not_null().all()
        assert not any(rows[name].is_nan().any() for name in rows.select(pl.selectors.float()).columns)


def test_a_missing_trace_is_a_one_line_error(tmp_path: Path) -> None:
    path = tmp_path / "grpo/ledger/ablated.parquet"
    runs.write_ablated(pl.DataFrame({"condition": []}), path, [])
    params = json.dumps({"pruning": {"bootstrap": 300, "confidence": 0.95, "seed": 0}})
    with pytest.raises(UserError, match=r"--traced: no file grpo/ledger\.parquet"):
        main(
            ["--params", params, "--ablated", str(path), "--scores", "x", "--ablated-scores", "y", "--output-dir", "x"]
        )


def test_equal_conditions_differ_by_nothing_and_exchanges_cannot_tell_them() -> None:
    rng, groups = np.random.default_rng(0), np.repeat(np.arange(20), 2)
    delta, means = rng.normal(size=40), rng.normal(size=(2, 40))
    same = contrast_strengths(means, np.stack([means, means]), delta, groups, HOW)
    assert same.found.value == 0 and same.p_value == 1
    assert contrast_means(np.zeros((40, 2)), groups, HOW).p_value == 1
    signal = contrast_strengths(delta[None] + 0 * means, np.stack([means]), delta, groups, HOW)
    assert signal.found.low is not None and signal.found.low > 0.3
    assert signal.p_value is not None and signal.p_value < 0.01


def test_a_constant_neuron_is_left_out_of_a_mean() -> None:
    delta, groups = np.arange(10.0), np.arange(10)
    found, _ = mean_spearman(np.stack([delta, np.zeros(10)]), delta, groups, HOW)
    assert found.value == pytest.approx(1)
    nothing, drawn = mean_spearman(np.zeros((1, 10)), delta, groups, HOW)
    assert nothing.value is None and nothing.reason == "all predictions are equal" and np.isnan(drawn).all()
