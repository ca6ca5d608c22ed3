from pathlib import Path

import numpy as np
import polars as pl
import pytest
import synthetic_results as synthetic
from polars.testing import assert_frame_equal

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.probes.curves import summarise_curves
from workflow_scripts.lib.statistics.bootstrap import accuracy
from workflow_scripts.lib.statistics.intervals import wilson
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.values.adaptive import Design
from workflow_scripts.lib.values.tables import Settings, rollout_row, value_row
from workflow_scripts.tabulate_results import main

WANTED = {
    "rollouts": "model dataset n accuracy ci_low ci_high truncated mean_tokens",
    "values": "model dataset paragraphs share_kept share_positive n_continuations noise_ceiling",
    "pruning_value": "model dataset layer position prune_ratio n_kept auc ci_low ci_high random_mean random_low "
    "random_high shuffled",
    "pruning_dopamine": "model dataset layer prune_ratio n_kept spearman ci_low ci_high random_mean random_low "
    "random_high shuffled noise_ceiling",
}
SETTINGS = Settings(confidence=0.95, resamples=200, seed=0, gamma=1.0, min_abs_delta=0.3, design=Design(16, 16))


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    folder = tmp_path_factory.mktemp("study")
    main(synthetic.study(folder))
    return {name: pl.read_parquet(folder / "tables" / f"{name}.parquet") for name in WANTED}


def test_columns_start_with_the_agreed_ones(tables: dict[str, pl.DataFrame]) -> None:
    for name, columns in WANTED.items():
        agreed = columns.split()
        assert tables[name].columns[: len(agreed)] == agreed


def test_csv_and_parquet_hold_the_same(tmp_path: Path) -> None:
    main(synthetic.study(tmp_path))
    for name in WANTED:
        frame = pl.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        read = pl.read_csv(tmp_path / "tables" / f"{name}.csv", schema=frame.schema)
        assert_frame_equal(read, frame)


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    arguments = synthetic.study(tmp_path)
    main(arguments)
    first = {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}
    main(arguments)
    assert len(first) == 8
    assert first == {path.name: path.read_bytes() for path in (tmp_path / "tables").iterdir()}


def test_rollouts_count_problems_and_carry_a_wilson_interval() -> None:
    names = [f"p-{i:06d}" for i in range(10)]
    frame = synthetic.rollouts(names, [1, 1, 1, 0, 0, 1, 0, 1, 1, 1])
    splits = synthetic.problems(10, 4).select("problem_id", "split")
    row = rollout_row(("grpo", "ledger"), frame, splits, SETTINGS)
    low, high = wilson(7, 10, 0.95)
    assert (row["n"], row["n_responses"], row["n_validation"]) == (10, 10, 4)
    assert row["accuracy"] == pytest.approx(0.7)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((float(low), float(high)))
    assert row["accuracy_validation"] == pytest.approx(0.75)
    assert row["truncated"] == pytest.approx(0.1)
    assert row["mean_tokens"] == pytest.approx(5.0)
    assert row["reason"] is None


def test_several_responses_to_a_problem_are_resampled_by_problem() -> None:
    names = [f"p-{i:06d}" for i in range(60)]
    alike = [reward for i in range(60) for reward in [i % 2] * 8]  # all eight responses to a problem are graded alike
    found = accuracy(synthetic.rollouts(names, alike, samples=8), SETTINGS)
    assert found is not None and found[1] is not None and found[2] is not None
    as_if_independent = wilson(240, 480, 0.95)
    assert found[0] == 0.5
    assert found[2] - found[1] > 2 * float(as_if_independent[1] - as_if_independent[0])


def test_values_of_hand_made_responses() -> None:
    rights = [8, 16, 8, 10]  # of 16; the response ends right
    values = [n / 16 for n in rights] + [1.0]
    rows: list[dict[str, object]] = []
    for name in ("p-000000", "p-000001"):
        for k, value in enumerate(values):
            delta = None if k == 0 else value - values[k - 1]
            row: dict[str, object] = {"problem_id": name, "sample": 0, "boundary": k, "delta": delta}
            row["n"] = 0 if k == 4 else 16
            row |= {"n_right": 0 if k == 4 else rights[k], "value": value, "delta_half_a": delta, "delta_half_b": delta}
            rows.append(row | {"kept": None if delta is None else abs(delta) > 0.3})
    splits = pl.DataFrame({"problem_id": ["p-000000", "p-000001"], "split": ["validation", "train"]})
    found = value_row(("grpo", "ledger"), pl.DataFrame(rows, infer_schema_length=None), splits, SETTINGS)
    assert (found["paragraphs"], found["kept"], found["kept_validation"], found["responses"]) == (8, 6, 3, 2)
    assert (found["continuations"], found["n_continuations"]) == (128, 16)
    assert (found["n_fewest"], found["n_mean"]) == (16, 16)
    assert (found["share_kept"], found["share_positive"]) == pytest.approx((3 / 4, 2 / 3))
    assert found["noise_ceiling_all"] == pytest.approx(1.0)  # halves that agree wholly
    assert isinstance(found["noise_ceiling"], float)


def test_the_noise_ceilings_are_those_of_validation_problems_only() -> None:
    names = [f"p-{i:06d}" for i in range(120)]
    frame = synthetic.values(names, np.random.default_rng(0))
    splits = synthetic.problems(120, 60).select("problem_id", "split")
    training = pl.col("problem_id").is_in(names[:60])
    turned = pl.when(training).then(16 - pl.col("n_right")).otherwise("n_right").alias("n_right")
    spoilt = frame.with_columns(turned, pl.when(training).then(-pl.col("delta_half_b")).otherwise("delta_half_b"))
    before = value_row(("grpo", "ledger"), frame, splits, SETTINGS)
    after = value_row(("grpo", "ledger"), spoilt, splits, SETTINGS)
    for name in ("noise_ceiling", "noise_ceiling_all"):
        assert before[name] == after[name]
        assert isinstance(before[name], float) and 0.8 < before[name] < 1  # type: ignore[operator]


def test_no_kept_paragraph_and_one_class_leave_reasons_and_no_numbers(tables: dict[str, pl.DataFrame]) -> None:
    easy = pl.col("dataset") == "easy"
    value = tables["values"].filter(easy).row(0, named=True)
    assert value["share_kept"] == 0 and value["share_positive"] is None and value["noise_ceiling"] is None
    assert value["reason"] == "no paragraph passes the threshold: no dopamine probe can be judged"
    assert tables["rollouts"].filter(easy)["reason"].to_list() == [
        "all answers of the validation problems are correct: no probe can be judged"
    ]
    curves = tables["pruning_value"].filter(easy)
    assert len(curves) == 15 * 6 * 2
    assert curves["auc"].null_count() == curves["shuffled"].null_count() == curves["random_mean"].null_count() == 180
    assert curves["reason"].unique().to_list() == ["all responses are correct"]


def test_every_curve_has_all_ratios_and_its_run(tables: dict[str, pl.DataFrame]) -> None:
    counts = tables["pruning_value"].group_by("model", "dataset", "layer", "position").len()
    assert len(counts) == 3 * 6 * 2
    assert counts["len"].unique().to_list() == [15]
    ledger = tables["pruning_dopamine"].filter(pl.col("dataset") == "ledger")
    ceiling = tables["values"].filter(pl.col("dataset") == "ledger")["noise_ceiling"][0]
    assert ledger["noise_ceiling"].unique().to_list() == [ceiling]


def hand_made_pruning() -> pl.DataFrame:
    base = {"layer": 3, "position": "initial", "prune_ratio": 0.9, "n_kept": 19, "ci_low": None, "ci_high": None}
    rows = [("true", "importance", seed, -1, auc) for seed, auc in enumerate([0.6, 0.7, 0.8])]
    rows += [("shuffled", "importance", seed, -1, auc) for seed, auc in enumerate([0.48, 0.54])]
    rows += [("true", "random", seed, draw, 0.5 + 0.01 * draw + 0.1 * seed) for seed in range(2) for draw in range(11)]
    rows += [("true", "retrained", 0, -1, 0.65)]
    names = ("labels", "kept", "seed", "draw", "auc")
    frame = [base | dict(zip(names, row, strict=True)) | {"reason": None} for row in rows]
    mean = {"labels": "true", "kept": "importance", "seed": -1, "draw": -1, "auc": 0.7, "ci_low": 0.64, "ci_high": 0.77}
    return pl.DataFrame([*frame, base | mean | {"reason": None}], infer_schema_length=None)


def test_a_point_of_a_curve_by_hand() -> None:
    row = summarise_curves(hand_made_pruning(), "auc", 0.9).row(0, named=True)
    assert (row["auc"], row["ci_low"], row["ci_high"]) == (0.7, 0.64, 0.77)
    assert row["shuffled"] == pytest.approx(0.51)
    assert row["random_mean"] == pytest.approx(0.6)
    drawn = [0.5 + 0.01 * d + 0.1 * s for s in range(2) for d in range(11)]
    assert (row["random_low"], row["random_high"]) == pytest.approx(tuple(np.quantile(drawn, [0.05, 0.95])))
    assert (row["retrained"], row["n_seeds"], row["n_shuffled"]) == (0.65, 3, 2)


def test_a_pruning_file_without_its_means_is_refused() -> None:
    with pytest.raises(UserError, match="no row with seed -1"):
        summarise_curves(hand_made_pruning().filter(pl.col("seed") >= 0), "auc", 0.95)


def test_problems_of_every_data_set_are_needed(tmp_path: Path) -> None:
    arguments = synthetic.study(tmp_path)
    arguments.remove(str(tmp_path / "problems" / "codes" / "0.parquet"))
    with pytest.raises(UserError, match=r"no files codes/\*\.parquet"):
        main(arguments)


def test_a_study_without_values_has_tables_without_rows(tmp_path: Path) -> None:
    synthetic.write_run(tmp_path, "grpo", "ledger", [0, 1] * 20, synthetic.pruning("auc", {1: 0.7}))
    main(synthetic.tabulate_arguments(tmp_path))
    for name in ("values", "pruning_dopamine"):
        frame = pl.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        assert frame.is_empty() and set(WANTED[name].split()) <= set(frame.columns)


def test_shards_are_read_in_any_number(tmp_path: Path) -> None:
    arguments = synthetic.study(tmp_path)
    main(arguments)
    before = pl.read_parquet(tmp_path / "tables" / "rollouts.parquet")
    shards = [tmp_path / "rollouts" / "grpo" / "ledger" / f"{i}.parquet" for i in range(2)]
    whole = pl.concat([pl.read_parquet(path) for path in shards])
    shards[1].unlink()
    write_parquet(whole, shards[0])
    main(synthetic.tabulate_arguments(tmp_path))
    assert_frame_equal(pl.read_parquet(tmp_path / "tables" / "rollouts.parquet"), before)
