"""Scores of every method on planted states: what they find, what they are chosen on, what they must not see."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.metrics import roc_auc_score

from workflow_scripts import predict_confidence, train_value_probes
from workflow_scripts.lib.confidence.folds import Folds, fold_auc, folds_of, out_of_fold
from workflow_scripts.lib.confidence.methods import METHODS
from workflow_scripts.lib.confidence.outcomes import (
    Labels,
    best,
    class_means,
    length_outcome,
    linear_candidate,
    without_rounding,
)
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import write_activations
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.statistics.ranks import round_ties
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet

D, N, LAYERS, CARRIERS = 12, 100, [1, 2], [3, 5]
VALUE: dict[str, Any] = {
    "target": "td_lambda",
    "td_gradient": "semi",
    "td_lambda": 0.9,
    "gamma": 0.99999,
    "input_scaling": "zscore",
    "hidden": 8,
    "epochs": 4,
    "batch_size": 8,
    "learning_rate": 0.02,
    "weight_decay": 0.01,
    "seeds": [4, 1],
    "shuffled_seeds": [1],
}
RATIOS = [0.0, 0.5, 0.8]
IDENTITY = {"model": "m", "revision": None, "fingerprint": "f", "dataset": "d", "dtype": "float32", "n_layers": 2}
REWARDS = np.random.default_rng(3).integers(0, 2, N)


def write(folder: Path, rewards: np.ndarray = REWARDS, n: int = N, shard_size: int = 40, reverse: bool = False) -> Path:
    """Two coordinates of layer 2 carry the reward, layer 1 carries half of it; every fourth problem is validation."""
    ids = [f"p-{i:03d}" for i in range(n)]
    split = ["validation" if i % 4 == 0 else "train" for i in range(n)]
    write_parquet(pl.DataFrame({"problem_id": ids, "split": split}), folder / "problems.parquet")
    rng = np.random.default_rng(0)
    states = [rng.normal(size=(len(LAYERS), int(rng.integers(2, 5)), D)) for _ in ids]
    lengths = [10 + int(rng.integers(0, 5)) - 3 * int(reward) for reward in rewards]
    for i, block in enumerate(states):
        block[0][:, CARRIERS] += rewards[i] - 0.5
        block[1][:, CARRIERS] += 3 * rewards[i] - 1.5
    for shard, first in enumerate(range(0, n, shard_size)):
        members = list(range(first, min(first + shard_size, n)))[:: -1 if reverse else 1]
        named = {"problem_id": [ids[i] for i in members]}
        prompts = {"sample": 0, "prompt_ids": [[1] * lengths[i] for i in members]}
        write_parquet(
            pl.DataFrame(named | prompts | {"reward": rewards[members]}), folder / f"rollouts-{shard}.parquet"
        )
        said = {"token": [-1.0 + 0.5 * float(rewards[i]) for i in members], "verbal": None, "tries": 4, "text": "no"}
        asked = pl.DataFrame(named | said).cast({"verbal": pl.Float64})
        write_parquet(asked, folder / f"asked-{shard}.parquet")
        counts = [states[i].shape[1] for i in members]
        joined = {
            layer: torch.from_numpy(np.concatenate([states[i][place] for i in members])).float()
            for place, layer in enumerate(LAYERS)
        }
        rows = [(ids[i], 0, states[i].shape[1] - 1) for i in members]
        path = folder / f"activations-{shard}.safetensors"
        write_activations(
            States(rows, torch.tensor([0, *np.cumsum(counts)]), joined), IDENTITY | {"shard": shard}, path
        )
    return folder


def files(folder: Path, *names: str) -> list[str]:
    found = {name: [str(path) for path in sorted(folder.glob(f"{name}*")) if path.suffix != ".kept"] for name in names}
    return [part for name in names for part in (f"--{name}", *found[name])]


def predict(
    folder: Path, layers: list[int] = LAYERS, folds: int = 3, seed: int = 0
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Train the probes unless they are there, and predict: scores and choices."""
    if not (folder / "probes.safetensors").exists():
        params = ["--params", json.dumps({"value_probes": VALUE})]
        inputs = files(folder, "problems", "rollouts", "activations")
        train_value_probes.main([*params, *inputs, "--output", str(folder / "probes.safetensors")])
    section = {"layers": layers, "folds": folds, "seed": seed}
    params = ["--params", json.dumps({"confidence": section, "pruning": {"ratios": RATIOS}})]
    outputs = ["--output", str(folder / "scores.parquet"), "--choices", str(folder / "chosen.parquet")]
    inputs = files(folder, "problems", "rollouts", "activations", "probes", "asked")
    predict_confidence.main([*params, *inputs, *outputs])
    return read_parquet(folder / "scores.parquet"), read_parquet(folder / "chosen.parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def found(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    return predict(folder)


def auc_of(rows: pl.DataFrame) -> float:
    return float(roc_auc_score(rows["reward"], rows["score"]))


def test_rows_of_every_method(found: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    rows, _ = found
    held_out, training = (rows.filter(pl.col("split") == part) for part in ("validation", "train"))
    counts = dict(held_out.group_by("method").len().iter_rows())
    assert counts == {name: 25 * (4 if name.startswith("value") else 1) for name in METHODS}
    counts = dict(training.group_by("method").len().iter_rows())
    assert counts == {name: 75 * (2 if name.startswith("value") else 1) for name in METHODS}
    assert rows["problem_id"].is_sorted()
    assert training["probability"].null_count() == len(training)
    fitted = pl.col("method").is_in(["value_neurons", "value_neurons_cv", "lcd", "lcd_logistic"])
    assert training.filter(fitted)["fold"].unique().sort().to_list() == [0, 1, 2]
    others = rows.filter(~fitted | (pl.col("split") == "validation"))
    assert others["fold"].null_count() == len(others)
    assert training.filter(pl.col("layer").is_not_null() & pl.col("seed").is_not_null())["seed"].unique().to_list() == [
        4
    ]


def test_planted_neurons_are_found_and_probabilities_hold(found: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    rows, _ = found
    held_out = rows.filter(pl.col("split") == "validation")
    for method in ("value_neurons", "value_neurons_cv", "lcd", "lcd_logistic"):
        mine = held_out.filter((pl.col("method") == method) & (pl.col("layer") == 2))
        assert auc_of(mine) > 0.95
        right = mine.filter(pl.col("reward") == 1)["probability"].mean()
        wrong = mine.filter(pl.col("reward") == 0)["probability"].mean()
        assert right > 0.85 and wrong < 0.15  # type: ignore[operator]
    assert auc_of(held_out.filter(pl.col("method") == "question_length")) > 0.8  # shorter is right: the sign is -1
    assert held_out.filter(pl.col("method") == "verbal")["score"].null_count() == 25


def test_what_was_chosen_is_told(found: tuple[pl.DataFrame, pl.DataFrame]) -> None:
    rows, choices = found
    chosen = {row["method"]: row for row in choices.to_dicts()}
    assert (chosen["lcd"]["layer"], chosen["lcd_logistic"]["layer"]) == (2, 2)
    assert chosen["question_length"]["sign"] == -1 and chosen["question_length"]["chosen_on"] == "training"
    assert chosen["value_neurons"]["chosen_on"] == "validation"
    assert chosen["value_neurons_cv"]["chosen_on"] == chosen["lcd"]["chosen_on"] == "training folds"
    assert chosen["verbal"]["undefined"] == "the model named no number from 0 to 1 in 4 tries for any problem"
    best_of = choices.filter((pl.col("method") == "value_neurons") & (pl.col("layer") == 1))
    mine = rows.filter((pl.col("method") == "value_neurons") & (pl.col("layer") == 1) & (pl.col("split") != "train"))
    each = [auc_of(part) for _, part in mine.group_by("seed")]
    assert best_of["selection_auc"][0] == pytest.approx(np.mean(each))
    assert choices["n_training"].unique().to_list() == [75] and choices["n_folds"].unique().to_list() == [3]


def test_only_value_neurons_look_at_validation(
    found: tuple[pl.DataFrame, pl.DataFrame], folder: Path, tmp_path: Path
) -> None:
    """Other validation rewards: every other method keeps its scores, choices and probabilities."""
    rows, choices = found
    flipped = np.where(np.arange(N) % 4 == 0, 1 - REWARDS, REWARDS)
    write(tmp_path)
    (tmp_path / "probes.safetensors").write_bytes((folder / "probes.safetensors").read_bytes())
    for path in tmp_path.glob("rollouts-*"):
        frame = read_parquet(path)
        numbers = [int(flipped[int(name[2:])]) for name in frame["problem_id"]]
        write_parquet(frame.with_columns(reward=pl.Series(numbers)), path)
    other_rows, other_choices = predict(tmp_path)
    blind = pl.col("method") != "value_neurons"
    assert other_choices.filter(blind).equals(choices.filter(blind))
    columns = ["problem_id", "method", "layer", "seed", "score", "probability", "fold"]
    assert other_rows.filter(blind).select(columns).equals(rows.filter(blind).select(columns))
    sees = (pl.col("method") == "value_neurons") & (pl.col("layer") == 2)
    assert other_choices.filter(sees)["selection_auc"][0] < choices.filter(sees)["selection_auc"][0]


def test_shards_and_their_order_change_nothing(
    found: tuple[pl.DataFrame, pl.DataFrame], folder: Path, tmp_path: Path
) -> None:
    write(tmp_path, shard_size=33, reverse=True)
    (tmp_path / "probes.safetensors").write_bytes((folder / "probes.safetensors").read_bytes())
    rows, choices = predict(tmp_path)
    names = ["problem_id", "method", "layer", "seed", "fold"]
    assert rows.select(names).equals(found[0].select(names))
    for column in ("score", "probability"):
        ours, theirs = (frame[column].fill_null(9.0).to_numpy() for frame in (rows, found[0]))
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
    assert choices.drop("selection_auc").equals(found[1].drop("selection_auc"))


def test_a_missing_layer_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no probe of layer 7; add it to activations\.layers"):
        predict(folder, layers=[2, 7])


def test_problems_that_were_not_asked_are_refused(tmp_path: Path, folder: Path) -> None:
    write(tmp_path)
    (tmp_path / "probes.safetensors").write_bytes((folder / "probes.safetensors").read_bytes())
    (tmp_path / "asked-1.parquet").unlink()
    with pytest.raises(UserError, match="problem p-040 was not asked"):
        predict(tmp_path)


@pytest.mark.parametrize(("n", "rewards"), [(8, [1] * 8), (2, [1, 0]), (1, [1]), (8, [0, 1, 0, 1, 1, 0, 1, 0])])
def test_little_data_gives_rows_and_reasons(tmp_path: Path, n: int, rewards: list[int]) -> None:
    """All right, one training problem, none, and a validation part of two."""
    write(tmp_path, np.array(rewards), n, shard_size=3)
    rows, choices = predict(tmp_path, layers=[2])
    assert set(choices["method"]) == set(METHODS)
    assert rows["score"].is_nan().sum() == rows["probability"].is_nan().sum() == 0
    for row in choices.to_dicts():
        mine = rows.filter((pl.col("method") == row["method"]) & (pl.col("split") == "validation"))
        if row["uncalibrated"] is None:
            assert mine["probability"].null_count() == 0
        if row["undefined"] is None:
            assert mine["score"].null_count() == 0
    if n == 8 and all(rewards):
        assert choices.filter(pl.col("method") == "lcd")["undefined"][0] == "all training responses are correct"
    if n == 1:
        assert choices.filter(pl.col("method") == "value_neurons")["undefined"][0] == "no training responses"


def test_folds_are_even_and_by_problem() -> None:
    names = [f"p-{i // 2:02d}" for i in range(46)]
    folds = folds_of(names, 5, 0)
    assert folds.n == 5 and np.array_equal(folds.numbers[::2], folds.numbers[1::2])
    assert sorted(np.bincount(folds.numbers[::2])) == [4, 4, 5, 5, 5]
    shuffled = folds_of(names[::-1], 5, 0)
    assert np.array_equal(shuffled.numbers[::-1], folds.numbers)
    assert not np.array_equal(folds_of(names, 5, 1).numbers, folds.numbers)
    assert folds_of(["a", "b", "a"], 5, 0).n == 2 and folds_of(["a"], 5, 0).n == folds_of([], 5, 0).n == 0


def test_auc_within_folds_by_hand() -> None:
    folds = Folds(np.array([0, 0, 0, 1, 1, 2]), 3)
    rewards = np.array([1.0, 0, 0, 1, 0, 1])
    scores = np.array([[2.0, 1, 3, 0, 5, 9], [3, 1, 2, 5, 0, 9]])
    assert fold_auc(scores, rewards, folds) == pytest.approx([(0.5 + 0) / 2, 1])  # the last fold has one class
    assert np.isnan(fold_auc(scores[0], rewards, Folds(np.zeros(6, dtype=int), 0)))


def test_class_means_by_hand() -> None:
    states = torch.tensor([[2.0, 1], [4, 1], [0, 0], [0, 2]])
    predict_score = class_means(states, np.array([1.0, 1, 0, 0]))  # means (3, 1) and (0, 1), centre (1.5, 1)
    assert predict_score(torch.tensor([[1.5, 9.0], [2.5, 0]])) == pytest.approx([0, 3])


def test_a_fold_is_scored_by_the_others_alone() -> None:
    seen: list[list[float]] = []

    def fit(states: torch.Tensor, rewards: np.ndarray) -> Any:
        seen.append(sorted(states[:, 0].tolist()))
        return lambda others: others[:, 0].numpy() * 0 + rewards.sum()

    states, rewards = torch.arange(6.0)[:, None], np.array([1.0, 1, 1, 0, 1, 1])
    scores = out_of_fold(fit, states, rewards, Folds(np.array([0, 1, 2, 0, 1, 2]), 3))
    assert seen == [[0, 2, 3, 5], [0, 1, 3, 4]]  # outside the first fold all are right: nothing to learn
    assert np.isnan(scores[[0, 3]]).all() and scores[[1, 4]].tolist() == [3, 3]


def test_the_best_layer_is_that_of_the_folds() -> None:
    rng = np.random.default_rng(0)
    rewards = np.array([0.0, 1] * 20)
    labels = Labels(rewards, 1 - rewards, folds_of([f"p{i}" for i in range(40)], 4, 0))  # validation is upside down
    noise, signal = (torch.from_numpy(rng.normal(size=(40, 3)) + shift) for shift in (0, 4 * rewards[:, None]))
    candidates = [linear_candidate("lcd", (s, s), layer, labels) for layer, s in ((1, noise), (2, signal))]
    assert best(candidates, labels).layer == 2


def test_the_sign_of_the_length_comes_from_training() -> None:
    rewards = np.array([0.0, 0, 1, 1])
    labels = Labels(rewards, rewards, folds_of(list("abcd"), 2, 0))
    outcome = length_outcome(np.array([9.0, 8, 2, 1]), np.array([1.0, 2, 8, 9]), labels)
    assert (outcome.sign, outcome.selection_auc, outcome.validation.tolist()) == (-1, 1, [-1, -2, -8, -9])
    assert length_outcome(np.full(4, 5.0), np.full(4, 5.0), labels).sign == 1


def test_rounding_ranks_nothing() -> None:
    """One prompt asked again and again differs by rounding alone, also beside a coordinate a thousand times larger."""
    rng = np.random.default_rng(0)
    rewards = np.array([0.0, 1] * 20)
    labels = Labels(rewards, rewards, folds_of([f"p{i}" for i in range(40)], 4, 0))
    prompt = torch.tensor([1.5, -0.3, 0.01, 1000.0])
    for size in (1, 1000):
        same = prompt.clone()
        same[3] = size
        asked = same * (1 + torch.from_numpy(rng.normal(size=(40, 4)) * 1e-7)).float()
        for c in (None, 1.0):
            outcome = linear_candidate("lcd", without_rounding((asked, asked)), 1, labels, c)
            assert np.ptp(round_ties(outcome.validation)) == 0
            others = asked + 0.1 * torch.from_numpy(rng.normal(size=(40, 4)))
            varied = linear_candidate("lcd", without_rounding((others, asked)), 1, labels, c)
            assert np.ptp(round_ties(varied.training)) > 0
