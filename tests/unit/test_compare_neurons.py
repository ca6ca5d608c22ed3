import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from synthetic_probes import noisy, top, write

from workflow_scripts import compare_neurons
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.neurons.overlap import (
    NO_SHUFFLED,
    NO_WITHIN,
    ONE_PAIR,
    ONE_SEED,
    ONE_SHUFFLED_SEED,
    random_iou,
)
from workflow_scripts.lib.neurons.transfer_rise import COLUMNS
from workflow_scripts.lib.probes.pruning import kept_count

D = 40
RATIOS = [0.0, 0.5, 0.9]
PRUNING = {"ratios": RATIOS, "confidence": 0.95, "bootstrap": 200, "seed": 0}


def compare(
    folder: Path, value: list[Path], dopamine: list[Path] | None = None, families: list[list[str]] | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    params = json.dumps({"transfer": {"families": families or []}, "pruning": PRUNING})
    files = ["--value", *map(str, value), "--dopamine", *map(str, dopamine or [])]
    scores = ["--scores", str(folder / "scores.parquet")]
    compare_neurons.main(["--params", params, *files, *scores, "--output-dir", str(folder / "tables")])
    names = ("transfer", "importance_correlation")
    for name in (*names, "transfer_rise"):
        assert (folder / "tables" / f"{name}.csv").is_file()
    overlap, correlation = (pl.read_parquet(folder / "tables" / f"{name}.parquet") for name in names)
    return overlap, correlation


def two_runs(folder: Path, shared: float = 1.0, seeds: tuple[int, ...] = (0, 1, 2)) -> list[Path]:
    names = ("grpo/ledger", "grpo/locks")
    return [write(folder, run, noisy(D, list(seeds), shared, i)) for i, run in enumerate(names)]


def constant_seeds(neurons: list[int]) -> dict[tuple[int, int, str], np.ndarray]:
    return {(2, seed, labels): top(D, neurons) for labels in ("true", "shuffled") for seed in (0, 1)}


def test_identical_sets_overlap_wholly_and_disjoint_ones_not_at_all(tmp_path: Path) -> None:
    one, other = list(range(20)), list(range(20, 40))
    a = write(tmp_path, "grpo/a", constant_seeds(one))
    b = write(tmp_path, "grpo/b", constant_seeds(one))
    c = write(tmp_path, "grpo/c", constant_seeds(other))
    overlap, _ = compare(tmp_path, [a, b, c])
    half = overlap.filter(pl.col("prune_ratio") == 0.5)
    found = {
        (x, y): (i, low, high)
        for x, y, i, low, high in half.select("dataset_a", "dataset_b", "iou", "iou_low", "iou_high").iter_rows()
    }
    assert found == {("a", "b"): (1, 1, 1), ("a", "c"): (0, 0, 0), ("b", "c"): (0, 0, 0)}
    assert half["n_kept"].unique().to_list() == [20] and half["d"].unique().to_list() == [D]
    assert overlap.filter(pl.col("prune_ratio") == 0)["iou"].unique().to_list() == [1.0]


def test_known_overlap_by_hand(tmp_path: Path) -> None:
    """At 0.9 four are kept. Pairs of different seeds: {0..3} n {2..5} = 2 of 6, {0..3} n {0..3} = 4 of 4."""
    first, shifted = top(D, [0, 1, 2, 3]), top(D, [2, 3, 4, 5])
    a = write(tmp_path, "grpo/a", {(2, 0, "true"): first, (2, 1, "true"): first})
    b = write(tmp_path, "grpo/b", {(2, 0, "true"): first, (2, 1, "true"): shifted})
    overlap, _ = compare(tmp_path, [a, b])
    row = overlap.filter(pl.col("prune_ratio") == 0.9).to_dicts()[0]
    assert row["n_kept"] == kept_count(0.9, D) == 4
    assert row["iou"] == pytest.approx((2 / 6 + 1) / 2)
    assert (row["iou_low"], row["iou_high"], row["n_pairs"]) == (pytest.approx(2 / 6), 1.0, 2)
    assert row["same_seed"] == pytest.approx((1 + 2 / 6) / 2)
    assert row["within"] == pytest.approx((1 + 2 / 6) / 2)
    assert row["shuffled"] is None and row["reason"] == NO_SHUFFLED


def test_first_weights_that_seeds_share_do_not_count_as_agreement(tmp_path: Path) -> None:
    """Without any common signal, same seeds agree because they start alike; different seeds are at chance."""
    overlap, correlation = compare(tmp_path, two_runs(tmp_path, shared=0.0))
    row = overlap.filter(pl.col("prune_ratio") == 0.5).to_dicts()[0]
    assert row["same_seed"] > row["random_high"]
    assert row["random_low"] <= row["iou"] <= row["random_high"]
    assert correlation["same_seed"][0] > 0.8 > 0.4 > abs(correlation["spearman"][0])
    assert row["n_pairs"] == correlation["n_pairs"][0] == 6 and row["reason"] is None


def test_a_common_signal_shows_in_true_labels_alone(tmp_path: Path) -> None:
    overlap, correlation = compare(tmp_path, two_runs(tmp_path, shared=3.0))
    row = overlap.filter(pl.col("prune_ratio") == 0.5).to_dicts()[0]
    assert row["iou_low"] > row["random_high"] > row["shuffled"]
    assert row["within"] == pytest.approx(row["iou"], abs=0.2)
    found = correlation.to_dicts()[0]
    assert found["ci_low"] > max(0.5, found["shuffled"]) and found["ci_low"] < found["spearman"] < found["ci_high"]


def test_with_one_seed_the_pair_shares_its_first_weights_and_says_so(tmp_path: Path) -> None:
    overlap, correlation = compare(tmp_path, two_runs(tmp_path, shared=0.0, seeds=(0,)))
    row = overlap.filter(pl.col("prune_ratio") == 0.5).to_dicts()[0]
    assert row["iou"] == row["same_seed"] and row["n_pairs"] == 1
    assert row["iou_low"] is None and row["iou_high"] is None and row["within"] is None
    assert row["reason"] == "; ".join([ONE_SEED, ONE_PAIR, ONE_SHUFFLED_SEED, NO_WITHIN])
    assert correlation["reason"][0] == "; ".join([ONE_SEED, ONE_SHUFFLED_SEED, NO_WITHIN])


def test_runs_of_one_seed_each_that_differ_share_nothing(tmp_path: Path) -> None:
    a = write(tmp_path, "grpo/a", noisy(D, [0], 0.0, 0))
    b = write(tmp_path, "grpo/b", noisy(D, [1], 0.0, 1))
    overlap, _ = compare(tmp_path, [a, b])
    row = overlap.filter(pl.col("prune_ratio") == 0.5).to_dicts()[0]
    assert row["same_seed"] is None and row["n_pairs"] == 1 and ONE_SEED not in row["reason"]


def test_pairs_are_data_sets_of_a_model_and_models_of_a_family(tmp_path: Path) -> None:
    names = ["grpo/ledger", "grpo/locks", "ppo/ledger", "other/ledger"]
    value = [write(tmp_path, run, noisy(D, [0, 1], 1.0, i, (2, 3))) for i, run in enumerate(names)]
    dopamine = [write(tmp_path, run, noisy(D, [0, 1], 1.0, i, (3,)), "dopamine") for i, run in enumerate(names[:2])]
    overlap, correlation = compare(tmp_path, value, dopamine, [["ppo", "grpo"]])
    keys = ["across", "model_a", "dataset_a", "model_b", "dataset_b", "kind", "layer"]
    data_sets, models = ("data sets", "grpo", "ledger", "grpo", "locks"), ("models", "grpo", "ledger", "ppo", "ledger")
    wanted = [(*data_sets, "value", 2), (*data_sets, "value", 3), (*data_sets, "dopamine", 3)]
    wanted += [(*models, "value", 2), (*models, "value", 3)]
    assert correlation.select(keys).rows() == wanted
    assert overlap.select(keys).unique(maintain_order=True).rows() == wanted
    assert len(overlap) == len(RATIOS) * len(wanted)
    assert (
        tuple(overlap.columns) == compare_neurons.OVERLAP and tuple(correlation.columns) == compare_neurons.CORRELATION
    )


def test_only_layers_that_both_runs_have_are_compared(tmp_path: Path) -> None:
    a = write(tmp_path, "grpo/a", noisy(D, [0, 1], 1.0, 0, (1, 2)))
    b = write(tmp_path, "grpo/b", noisy(D, [0, 1], 1.0, 1, (2, 3)))
    overlap, correlation = compare(tmp_path, [a, b])
    assert overlap["layer"].unique().to_list() == correlation["layer"].to_list() == [2]


@pytest.mark.parametrize(("d", "k"), [(5, 2), (6, 4), (7, 7), (8, 1)])
def test_the_random_expectation_is_that_of_all_pairs_of_sets(d: int, k: int) -> None:
    first, sets = set(range(k)), [set(s) for s in itertools.combinations(range(d), k)]
    every = np.array([len(first & s) / len(first | s) for s in sets])
    mean, low, high = random_iou(d, k, 0.95)
    assert mean == pytest.approx(every.mean())
    values = np.unique(every)
    assert low == pytest.approx(min(v for v in values if (every <= v + 1e-12).mean() >= 0.025))
    assert high == pytest.approx(min(v for v in values if (every <= v + 1e-12).mean() >= 0.975))


def test_the_random_band_is_that_of_simulated_sets() -> None:
    rng, d, k = np.random.default_rng(0), 192, 38
    drawn = []
    for _ in range(4000):
        common = len(np.intersect1d(rng.permutation(d)[:k], rng.permutation(d)[:k]))
        drawn.append(common / (2 * k - common))
    mean, low, high = random_iou(d, k, 0.95)
    assert mean == pytest.approx(np.mean(drawn), abs=0.003)
    outside = np.mean((np.array(drawn) < low - 1e-9) | (np.array(drawn) > high + 1e-9))
    assert outside <= 0.05 and low < mean < high
    narrow = random_iou(d, k, 0.5)
    assert low < narrow[1] and narrow[2] < high


def test_the_order_of_probes_in_a_file_and_of_nothing_else_matters(tmp_path: Path) -> None:
    probes = [noisy(D, [0, 1, 2], 1.0, stream) for stream in range(2)]
    names = ("grpo/ledger", "grpo/locks")
    straight = compare(tmp_path, [write(tmp_path, run, p) for run, p in zip(names, probes, strict=True)])
    turned = [dict(reversed(list(p.items()))) for p in probes]
    again = compare(tmp_path, [write(tmp_path, run, p) for run, p in zip(names, turned, strict=True)])
    alone = compare(tmp_path, [*two_runs(tmp_path), write(tmp_path, "ppo/ledger", noisy(D, [0, 1], 1.0, 5))])
    for one, other in (*zip(straight, again, strict=True), *zip(straight, alone, strict=True)):
        assert one.equals(other)


def test_interval_of_the_correlation_resamples_neurons(tmp_path: Path) -> None:
    """More neurons of the same kind narrow it, and equal importances have a correlation of one without an interval."""
    wide = compare(tmp_path, two_runs(tmp_path))[1].to_dicts()[0]
    many = [write(tmp_path, f"grpo/{i}", noisy(10 * D, [0, 1, 2], 1.0, i)) for i in range(2)]
    narrow = compare(tmp_path, many)[1].to_dicts()[0]
    assert narrow["ci_high"] - narrow["ci_low"] < 0.6 * (wide["ci_high"] - wide["ci_low"])
    same = [write(tmp_path, f"grpo/same{i}", constant_seeds([3, 1])) for i in range(2)]
    row = compare(tmp_path, same)[1].to_dicts()[0]
    assert row["spearman"] == pytest.approx(1) and row["ci_low"] is None and "every resample" in row["reason"]


def test_what_has_no_correlation_says_why(tmp_path: Path) -> None:
    flat = {(2, seed, "true"): np.ones(D) for seed in (0, 1)}
    runs = [write(tmp_path, "grpo/flat", flat), write(tmp_path, "grpo/b", noisy(D, [0, 1], 1.0, 0))]
    overlap, correlation = compare(tmp_path, runs)
    row = correlation.to_dicts()[0]
    assert row["spearman"] is None and row["ci_low"] is None
    assert row["reason"].startswith("all importances of a probe on grpo/flat are equal")
    assert overlap["iou"].is_not_null().all()
    tiny = [write(tmp_path, f"grpo/tiny{i}", noisy(2, [0, 1], 1.0, i)) for i in range(2)]
    assert compare(tmp_path, tiny)[1]["reason"][0].startswith("2 neurons: too few for a correlation")


@pytest.mark.parametrize("runs", [[], ["grpo/ledger"], ["grpo/ledger", "ppo/locks"]])
def test_nothing_to_compare_gives_tables_without_rows(tmp_path: Path, runs: list[str]) -> None:
    files = [write(tmp_path, run, noisy(D, [0], 1.0, 0)) for run in runs]
    for table, columns in zip(
        compare(tmp_path, files), (compare_neurons.OVERLAP, compare_neurons.CORRELATION), strict=True
    ):
        assert table.is_empty() and tuple(table.columns) == columns
        assert table.schema["across"] == table.schema["kind"] == pl.String
        assert table.schema["prune_ratio" if "prune_ratio" in columns else "spearman"] == pl.Float64


@pytest.mark.parametrize("runs", [[], ["grpo/ledger"]])
def test_a_rise_without_runs_to_compare_is_a_table_without_rows(tmp_path: Path, runs: list[str]) -> None:
    compare(tmp_path, [write(tmp_path, run, noisy(D, [0], 1.0, 0)) for run in runs])
    rise = pl.read_parquet(tmp_path / "tables/transfer_rise.parquet")
    assert rise.is_empty() and tuple(rise.columns) == COLUMNS and rise.schema["difference"] == pl.Float64


def test_a_rise_is_computed_from_the_pairs_that_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRUNING, "ratios", [0.0, 0.9, 0.99])
    compare(tmp_path, two_runs(tmp_path))
    (row,) = pl.read_parquet(tmp_path / "tables/transfer_rise.parquet").to_dicts()
    apart = pl.read_parquet(tmp_path / "scores.parquet").filter(pl.col("seed_a") != pl.col("seed_b"))
    for name, ratio in (("iou_from", 0.9), ("iou_to", 0.99)):
        assert row[name] == pytest.approx(apart.filter(pl.col("prune_ratio") == ratio)["iou"].mean())
    assert row["ci_low"] <= row["difference"] <= row["ci_high"] and row["n_seeds"] == 3


def test_no_number_in_the_tables_is_nan(tmp_path: Path) -> None:
    flat = {(2, seed, labels): np.ones(D) for labels in ("true", "shuffled") for seed in (0, 1)}
    runs = [write(tmp_path, "grpo/flat", flat), *two_runs(tmp_path)]
    for table in compare(tmp_path, runs):
        assert not any(table[name].is_nan().any() for name, kind in table.schema.items() if kind == pl.Float64)


def bad_widths(folder: Path) -> Any:
    return [write(folder, "grpo/a", noisy(D, [0], 1.0, 0)), write(folder, "ppo/a", noisy(D + 1, [0], 1.0, 0))]


def bad_versions(folder: Path) -> Any:
    probes = noisy(D, [0], 1.0, 0)
    return [write(folder, "grpo/a", probes), write(folder, "grpo/b", probes, fingerprint="another")]


def bad_place(folder: Path) -> Any:
    return [write(folder, "grpo/a", noisy(D, [0], 1.0, 0), dataset="locks")]


def bad_kind(folder: Path) -> Any:
    path = write(folder, "grpo/a", noisy(D, [0], 1.0, 0), "dopamine")
    return [path.rename(path.with_name("value.safetensors"))]


def diverged(folder: Path) -> Any:
    return [write(folder, "grpo/a", {(2, 0, "true"): np.ones(D), (3, 4, "true"): np.full(D, np.nan)})]


def untrained(folder: Path) -> Any:
    return [write(folder, "grpo/a", {(2, 0, "true"): np.ones(D), (3, 4, "shuffled"): np.ones(D)})]


BAD = {
    "neurons a layer .*name models of one width": bad_widths,
    "another version of grpo than": bad_versions,
    'dataset is "locks", but "a" is asked for': bad_place,
    'kind is "dopamine", but "value" is asked for': bad_kind,
    "layer 3, seed 4 has weights that are not finite: training diverged; lower value_probes": diverged,
    "a layer has no probe on true labels": untrained,
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        compare(tmp_path, BAD[message](tmp_path), families=[["grpo", "ppo"]])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tables").exists()
