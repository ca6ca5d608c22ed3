"""The modules that train, score and prune probes, run on files as the workflow runs them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from workflow_scripts import (
    evaluate_value_pruning,
    score_dopamine_probes,
    score_value_probes,
    train_dopamine_probes,
    train_value_probes,
)
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import open_activations, read_layer, write_activations
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.probes.perceptrons import PARAMETERS, Probes, load, save
from workflow_scripts.lib.probes.pruning import random_rankings
from workflow_scripts.lib.probes.trainer import layer_groups
from workflow_scripts.lib.runtime.reuse import kept_path
from workflow_scripts.lib.statistics.ranks import round_ties
from workflow_scripts.lib.storage.tables import read_about, read_parquet, write_parquet
from workflow_scripts.lib.storage.tensors import encode_rows, write_safetensors

D, N, LAYERS, CARRIERS = 20, 160, [1, 4], [2, 7]
TRAINED: dict[str, Any] = {"hidden": 16, "epochs": 8, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.01}
TRAINED |= {"seeds": [0, 1], "shuffled_seeds": [1], "input_scaling": "zscore"}
VALUE = TRAINED | {"target": "td_lambda", "td_gradient": "semi", "td_lambda": 0.9, "gamma": 0.99999}
DOPAMINE = TRAINED | {"normalization": "response"}
RATIOS = [0.0, 0.5, 0.9]
PRUNING = {
    "ratios": RATIOS,
    "random_draws": 20,
    "bootstrap": 200,
    "retrain_pruned": True,
    "confidence": 0.95,
    "seed": 0,
}
SCORED, EVALUATED = ("ratios", "random_draws", "seed", "retrain_pruned"), ("bootstrap", "confidence", "seed")
"""The keys that the rules pass."""
IDENTITY = {
    "model": "grpo",
    "revision": None,
    "fingerprint": "f",
    "dataset": "ledger",
    "dtype": "float16",
    "n_layers": 6,
}


def only(keys: tuple[str, ...], change: dict[str, Any]) -> list[str]:
    """The parameters of a rule that passes these keys of section `pruning`."""
    settings = PRUNING | change
    return ["--params", json.dumps({"pruning": {key: settings[key] for key in keys}})]


@dataclass
class Study:
    """Files of a synthetic run."""

    folder: Path

    def write(self, rewards: np.ndarray, shard_size: int = 50, reverse: bool = False) -> None:
        """Problems, rollouts and activations; two coordinates carry the reward; every fifth problem is validation."""
        ids = [f"p-{i:03d}" for i in range(N)]
        split = ["validation" if i % 5 == 0 else "train" for i in range(N)]
        write_parquet(pl.DataFrame({"problem_id": ids, "split": split}), self.folder / "problems.parquet")
        rng = np.random.default_rng(0)
        states = [rng.normal(size=(len(LAYERS), int(rng.integers(2, 8)), D)) for _ in ids]
        for i, block in enumerate(states):
            block[..., CARRIERS] += 2 * rewards[i] - 1
            block *= np.geomspace(0.01, 10, D)
        self.clear()
        for shard, first in enumerate(range(0, N, shard_size)):
            members = list(range(first, min(first + shard_size, N)))
            order = members[::-1] if reverse else members
            rollouts = {"problem_id": [ids[i] for i in order], "sample": 0, "reward": rewards[order].astype(np.int8)}
            write_parquet(pl.DataFrame(rollouts), self.folder / f"rollouts-{shard}.parquet")
            rows = [(ids[i], 0, states[i].shape[1] - 1) for i in order]
            offsets = torch.tensor([0, *np.cumsum([states[i].shape[1] for i in order])])
            joined = {
                layer: torch.from_numpy(np.concatenate([states[i][place] for i in order])).half()
                for place, layer in enumerate(LAYERS)
            }
            write_activations(
                States(rows, offsets, joined),
                IDENTITY | {"shard": shard},
                self.folder / f"activations-{shard}.safetensors",
            )

    def clear(self) -> None:
        for path in [*self.folder.glob("rollouts-*"), *self.folder.glob("activations-*")]:
            path.unlink()

    def write_features(self, delta: np.ndarray, kept: np.ndarray) -> None:
        """Three paragraphs a response; two coordinates carry delta."""
        rng = np.random.default_rng(1)
        rows = [[f"p-{i // 3:03d}", 0, i % 3 + 1] for i in range(3 * N)]
        layers = {}
        for layer in LAYERS:
            block = rng.normal(size=(3 * N, D))
            block[:, CARRIERS] += 2 * delta[:, None]
            layers[f"layer_{layer}"] = torch.from_numpy(block).float()
        tensors = layers | {"delta": torch.from_numpy(delta).float(), "kept": torch.from_numpy(kept.astype(np.uint8))}
        tensors |= {"rows": encode_rows(rows)}
        write_safetensors(tensors, IDENTITY | {"layers": LAYERS, "d": D}, self.folder / "features.safetensors")

    def files(self, *names: str) -> list[str]:
        found: list[str] = []
        for name in names:
            found += [f"--{name}", *sorted(map(str, self.folder.glob(f"{name}*")))]
        return found

    def train_value(self, output: str = "value", section: dict[str, Any] = VALUE, *more: str) -> Path:
        path = self.folder / f"{output}.safetensors"
        kept_path(path).unlink(missing_ok=True)  # every call trains
        params = ["--params", json.dumps({"value_probes": section})]
        inputs = self.files("problems", "rollouts", "activations")
        train_value_probes.main([*params, *inputs, *more, "--output", str(path)])
        return path

    def prune_value(self, probes: Path, **change: Any) -> pl.DataFrame:
        return self.evaluate("value", self.score_value(probes, **change), **change)

    def score_value(self, probes: Path, more: Sequence[str] = (), **change: Any) -> Path:
        path = self.folder / "value.scores.parquet"
        inputs = [*self.files("problems", "rollouts", "activations"), "--probes", str(probes), *more]
        score_value_probes.main([*only(SCORED, change), *inputs, "--output", str(path)])
        return path

    def evaluate(self, kind: str, scores: Path, **change: Any) -> pl.DataFrame:
        path = self.folder / f"{kind}.pruned.parquet"
        named = ["--kind", kind, "--scores", str(scores), "--output", str(path)]
        evaluate_value_pruning.main([*only(EVALUATED, change), *named])
        return read_parquet(path)

    def dopamine(self, **change: Any) -> pl.DataFrame:
        """Train, score and evaluate."""
        return self.evaluate("dopamine", self.score_dopamine(**change), **change)

    def score_dopamine(self, **change: Any) -> Path:
        """Train and score."""
        probes, path = self.folder / "dopamine.safetensors", self.folder / "dopamine.scores.parquet"
        kept_path(probes).unlink(missing_ok=True)
        params = ["--params", json.dumps({"dopamine_probes": DOPAMINE})]
        train_dopamine_probes.main([*params, *self.files("features", "problems"), "--output", str(probes)])
        inputs = [*self.files("features", "problems"), "--probes", str(probes)]
        score_dopamine_probes.main([*only(SCORED, change), *inputs, "--output", str(path)])
        return path


@pytest.fixture(scope="module")
def rewards() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 2, N)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, rewards: np.ndarray) -> Study:
    made = Study(tmp_path_factory.mktemp("study"))
    made.write(rewards)
    return made


@pytest.fixture(scope="module")
def probes(study: Study) -> Path:
    return study.train_value()


@pytest.fixture(scope="module")
def scores(study: Study, probes: Path) -> Path:
    return study.score_value(probes).rename(study.folder / "all.scores.parquet")


@pytest.fixture(scope="module")
def pruned(study: Study, scores: Path) -> pl.DataFrame:
    return study.evaluate("value", scores)


def assert_same_probes(one: Path, other: Path) -> None:
    (a, _), (b, _) = load(one), load(other)
    assert a.specs == b.specs
    for name in (*PARAMETERS, "mean", "scale"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=1e-5, rtol=1e-4)


def test_the_file_says_what_it_holds(probes, rewards):
    stack, metadata = load(probes, kind="value", model="grpo", dataset="ledger")
    assert [(s.layer, s.seed, s.labels) for s in stack.specs] == [
        (layer, seed, labels) for layer in LAYERS for seed, labels in ((0, "true"), (1, "true"), (1, "shuffled"))
    ]
    assert metadata["config"] == VALUE
    assert metadata["n_training"] == N * 4 // 5
    assert metadata["n_right"] == sum(int(r) for i, r in enumerate(rewards) if i % 5)


def test_validation_responses_are_never_trained_on(study, probes, rewards, tmp_path):
    """Other states and rewards in the validation part leave the probes as they are."""
    other = Study(tmp_path)
    changed = np.where(np.arange(N) % 5 == 0, 1 - rewards, rewards)
    other.write(changed)
    assert_same_probes(probes, other.train_value())
    changed[1] = 1 - changed[1]
    other.write(changed)
    with pytest.raises(AssertionError):
        assert_same_probes(probes, other.train_value())


def test_shards_and_their_order_change_nothing(probes, rewards, tmp_path):
    other = Study(tmp_path)
    other.write(rewards, shard_size=33, reverse=True)
    assert_same_probes(probes, other.train_value())


def test_groups_of_layers_change_nothing(study, probes):
    assert_same_probes(probes, study.train_value("grouped", VALUE, "--memory-gb", "0"))


def test_groups_of_layers_fit_the_memory(study):
    class Section:
        seeds, shuffled_seeds, hidden = (0, 1), (1,), 16

    source = open_activations(sorted(study.folder.glob("activations-*")))
    assert list(layer_groups(source, 500, Section, 0.0)) == [[1], [4]]  # type: ignore[arg-type]
    assert list(layer_groups(source, 500, Section, 1.0)) == [[1, 4]]  # type: ignore[arg-type]
    each = 3 * 16 * D * 4
    reading = 4 * D * sum(length + 1 for _, _, length in source.rows)
    both = (reading + 2 * each + 2 * (2 * D * 500 + 4 * each)) / 1e9
    assert list(layer_groups(source, 500, Section, 1.01 * both)) == [[1, 4]]  # type: ignore[arg-type]
    assert list(layer_groups(source, 500, Section, 0.99 * both)) == [[1], [4]]  # type: ignore[arg-type]


def masked_outputs(stack: Probes, i: int, states: torch.Tensor, kept: torch.Tensor) -> np.ndarray:
    """f(h) of one probe with every other input at zero after scaling."""
    inputs = torch.zeros_like(states)
    inputs[:, kept] = ((states - stack.mean[i]) / stack.scale[i])[:, kept]
    return ((inputs @ stack.w1[i].T + stack.b1[i]).relu() @ stack.w2[i] + stack.b2[i]).numpy()


def test_scores_have_a_row_for_each_layer_position_ratio_and_validation_response(scores, rewards):
    table = read_parquet(scores)
    order = ["layer", "position", "prune_ratio", "n_kept", "problem_id", "sample", "reward"]
    assert table.columns == [*order, "true", "shuffled", "random", "retrained"]
    ids = [f"p-{i:03d}" for i in range(0, N, 5)]
    points = [(layer, place, ratio) for layer in LAYERS for place in ("initial", "final") for ratio in RATIOS]
    assert table.select("layer", "position", "prune_ratio", "problem_id", "sample").rows() == [
        (*point, name, 0) for point in points for name in ids
    ]
    assert table["reward"].to_list() == [*rewards[::5]] * len(points)
    assert table.select(pl.col("true", "shuffled", "random", "retrained").list.len().unique()).row(0) == (2, 1, 40, 2)


def test_scores_are_the_outputs_of_pruned_probes_at_both_ends(study, probes, scores):
    table = read_parquet(scores)
    stack, _ = load(probes)
    states = read_layer(sorted(study.folder.glob("activations-*")), 4)
    ends = {row[0]: states.offsets[i : i + 2].tolist() for i, row in enumerate(states.rows)}
    for place, number in (("initial", 0), ("final", 1)):
        rows = table.filter(layer=4, position=place, prune_ratio=0.9)
        index = [ends[name][number] - number for name in rows["problem_id"]]
        held_out = states.layers[4][index].float()
        expected: dict[str, list[np.ndarray]] = {"true": [], "shuffled": [], "random": []}
        members = [i for i, spec in enumerate(stack.specs) if spec.layer == 4]
        for i in members:
            kept = stack.w1[i].abs().sum(0).argsort(descending=True)[:2]
            expected[stack.specs[i].labels].append(masked_outputs(stack, i, held_out, kept))
        for draw in range(20):
            for i in [i for i in members if stack.specs[i].labels == "true"]:
                kept = random_rankings([stack.specs[i]], D, draw, 0)[0, :2]
                expected["random"].append(masked_outputs(stack, i, held_out, kept))
        for name, outputs in expected.items():
            found = np.array(rows[name].to_list()).T
            np.testing.assert_allclose(found, np.array(outputs), rtol=1e-4, atol=1e-5, err_msg=f"{name} at {place}")


def test_curves_are_the_metric_of_the_scores(scores, pruned):
    """By another implementation of the AUC, entry by entry."""
    table, entries = read_parquet(scores), read_about(scores, ["entries"])["entries"]
    expected = []
    for keys, group in table.group_by("layer", "position", "prune_ratio", "n_kept"):
        for column, of_column in entries.items():
            for place, entry in enumerate(of_column):
                predicted = round_ties(group[column].list.get(place).to_numpy())
                expected.append((*keys, *entry.values(), roc_auc_score(group["reward"], predicted)))
    names = ["layer", "position", "prune_ratio", "n_kept", *("labels", "seed", "kept", "draw")]
    found = pruned.filter(pl.col("seed") != -1).select(*names, "auc").sort(names)
    wanted = pl.DataFrame(expected, schema=found.schema, orient="row").sort(names)
    assert found.drop("auc").equals(wanted.drop("auc"))
    np.testing.assert_allclose(found["auc"], wanted["auc"], atol=1e-12)


def test_scores_do_not_depend_on_how_layers_are_grouped_or_on_shards(study, probes, scores, rewards, tmp_path):
    before = read_parquet(scores)
    assert read_parquet(study.score_value(probes, more=["--memory-gb", "0"])).equals(before)
    other = Study(tmp_path)
    other.write(rewards, shard_size=33, reverse=True)
    assert read_parquet(other.score_value(probes)).equals(before)


def test_scores_of_other_probes_are_refused(study, scores):
    with pytest.raises(UserError, match='kind is "value_scores", but "dopamine_scores" is asked for'):
        study.evaluate("dopamine", scores)


def test_curves_are_computed_without_torch():
    script = "import sys, workflow_scripts.evaluate_value_pruning as _; print({'torch', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "{'numpy'}\n"


def test_the_pruning_table_has_every_curve(pruned):
    points = len(LAYERS) * 2 * len(RATIOS)
    by = {
        (labels, kept, seed): n for labels, kept, seed, n in pruned.group_by("labels", "kept", "seed").len().iter_rows()
    }
    assert by == {
        **{("true", "importance", seed): points for seed in (-1, 0, 1)},
        ("shuffled", "importance", 1): points,
        **{("true", "random", seed): 20 * points for seed in (0, 1)},
        **{("true", "retrained", seed): points for seed in (0, 1)},
    }
    assert pruned["position"].unique().sort().to_list() == ["final", "initial"]
    assert sorted(pruned.filter(kept="random")["draw"].unique()) == list(range(20))
    assert pruned.filter(pl.col("kept") != "random")["draw"].unique().to_list() == [-1]
    assert sorted(pruned["n_kept"].unique()) == [2, 10, 20]


def test_planted_coordinates_survive_pruning_and_shuffled_labels_show_nothing(pruned):
    means = pruned.filter(pl.col("seed") == -1)
    assert means["auc"].min() > 0.8
    assert (means["ci_low"] < means["auc"]).all() and (means["auc"] < means["ci_high"]).all()
    most = pl.col("prune_ratio") == 0.9
    random = pruned.filter(most, kept="random")["auc"].mean()
    shuffled = pruned.filter(labels="shuffled")["auc"].mean()
    assert means.filter(most)["auc"].min() > random + 0.1
    assert abs(shuffled - 0.5) < 0.2


def test_the_mean_row_is_the_mean_over_seeds(pruned):
    keys = ["layer", "position", "prune_ratio"]
    importance = pruned.filter(kept="importance", labels="true")
    mine = importance.filter(pl.col("seed") == -1).select(*keys, "auc")
    seeds = importance.filter(pl.col("seed") >= 0).group_by(keys).agg(expected=pl.col("auc").mean())
    joined = mine.join(seeds, on=keys)
    assert len(joined) == len(mine)
    np.testing.assert_allclose(joined["auc"], joined["expected"])
    assert importance.filter(pl.col("seed") >= 0)["ci_low"].is_null().all()


def test_retraining_on_everything_gives_the_probe_itself(pruned):
    keys = ["layer", "position", "seed"]
    full = pruned.filter(pl.col("prune_ratio") == 0, labels="true")
    original = full.filter(kept="importance")
    joined = full.filter(kept="retrained").join(original, on=keys)
    np.testing.assert_allclose(joined["auc"], joined["auc_right"], atol=0.01)
    retrained = pruned.filter(pl.col("prune_ratio") == 0.9, kept="retrained")
    assert retrained["auc"].min() > 0.8


@pytest.mark.parametrize("right", [0, 1])
def test_one_class_gives_reasons_and_no_number(tmp_path, right):
    study = Study(tmp_path)
    study.write(np.full(N, right))
    table = study.prune_value(study.train_value(section=VALUE | {"epochs": 1}), random_draws=1)
    assert table["auc"].is_null().all() and table["ci_low"].is_null().all()
    assert set(table["reason"]) == {f"all training responses are {'correct' if right else 'incorrect'}"}
    assert -1 in table["seed"]


def test_one_class_in_the_validation_part_alone(study, probes, rewards, tmp_path):
    other = Study(tmp_path)
    other.write(np.where(np.arange(N) % 5 == 0, 1, rewards))
    table = other.prune_value(probes, retrain_pruned=False)
    assert table["auc"].is_null().all()
    assert set(table["reason"]) == {"all responses are correct"}


def test_probes_of_another_model_are_refused(study, probes, tmp_path):
    other = Study(tmp_path)
    other.write(np.arange(N) % 2)
    stack, metadata = load(probes)
    save(stack, metadata | {"model": "ppo"}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match='model is "ppo", but "grpo" is asked for'):
        other.prune_value(tmp_path / "other.safetensors")


def test_a_response_without_reward_is_refused(rewards, tmp_path):
    study = Study(tmp_path)
    study.write(rewards)
    (tmp_path / "rollouts-0.parquet").unlink()
    with pytest.raises(UserError, match="response p-000, sample 0: not among"):
        study.train_value()


def test_responses_given_twice_or_without_states_are_refused(rewards, tmp_path):
    study = Study(tmp_path)
    study.write(rewards)
    states = tmp_path / "activations-0.safetensors"
    shutil.copy(states, tmp_path / "activations-9.safetensors")
    with pytest.raises(UserError, match="problem_id p-000, sample 0 occurs twice; delete the shards that contain it"):
        study.train_value()
    (tmp_path / "activations-9.safetensors").unlink()
    shutil.copy(tmp_path / "rollouts-0.parquet", tmp_path / "rollouts-9.parquet")
    with pytest.raises(UserError, match="problem_id p-000, sample 0 occurs twice"):
        study.train_value()
    (tmp_path / "rollouts-9.parquet").unlink()
    states.unlink()
    with pytest.raises(UserError, match="response p-000, sample 0: has no states; delete the activations"):
        study.train_value()


@pytest.mark.parametrize("target", ["td", "mc", "final"])
def test_every_target_trains(study, target):
    path = study.train_value(target, VALUE | {"target": target, "epochs": 2})
    stack, metadata = load(path)
    assert metadata["config"]["target"] == target
    assert stack.w1.isfinite().all()


@pytest.fixture(scope="module")
def delta() -> np.ndarray:
    return np.random.default_rng(4).uniform(-1, 1, 3 * N)


def test_dopamine_probes_find_the_planted_coordinates(study, delta):
    study.write_features(delta, np.abs(delta) > 0.3)
    table = study.dopamine()
    means = table.filter(pl.col("seed") == -1)
    assert means["spearman"].min() > 0.6
    assert (means["ci_low"] < means["spearman"]).all() and (means["spearman"] < means["ci_high"]).all()
    assert abs(table.filter(labels="shuffled")["spearman"].mean()) < 0.35
    random = table.filter(pl.col("prune_ratio") == 0.9, kept="random")["spearman"].mean()
    assert random < means.filter(pl.col("prune_ratio") == 0.9)["spearman"].min() - 0.2
    assert table.filter(pl.col("prune_ratio") == 0.9, kept="retrained")["spearman"].min() > 0.6
    assert "position" not in table.columns
    stack, metadata = load(study.folder / "dopamine.safetensors", kind="dopamine")
    kept_training = sum(abs(x) > 0.3 and (i // 3) % 5 > 0 for i, x in enumerate(delta))
    assert metadata["n_training"] == kept_training and stack.w1.shape == (6, 16, D)


def test_dopamine_scores_have_a_row_for_each_layer_ratio_and_kept_paragraph(study, delta):
    kept = np.abs(delta) > 0.3
    study.write_features(delta, kept)
    path = study.score_dopamine(random_draws=2, retrain_pruned=False)
    table, entries = read_parquet(path), read_about(path, ["entries"])["entries"]
    assert table.columns[:7] == ["layer", "prune_ratio", "n_kept", "problem_id", "sample", "paragraph", "delta"]
    chosen = [i for i in range(3 * N) if kept[i] and i // 3 % 5 == 0]
    points = [(layer, ratio) for layer in LAYERS for ratio in RATIOS]
    assert table.select("layer", "prune_ratio", "problem_id", "sample", "paragraph").rows() == [
        (*point, f"p-{i // 3:03d}", 0, i % 3 + 1) for point in points for i in chosen
    ]
    assert table["delta"].to_list() == [*delta[chosen].astype(np.float32)] * len(points)
    assert table["retrained"].is_null().all() and "retrained" not in entries
    assert [(entry["draw"], entry["seed"]) for entry in entries["random"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    curves = study.evaluate("dopamine", path, random_draws=2)
    rows = table.filter(layer=1, prune_ratio=0.9)
    for place, (draw, seed) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)]):
        found = curves.filter(layer=1, prune_ratio=0.9, kept="random", draw=draw, seed=seed)["spearman"].item()
        expected = spearmanr(rows["random"].list.get(place), rows["delta"]).statistic
        assert found == pytest.approx(expected, abs=1e-3)  # near ties are rounded away


def test_paragraphs_below_the_threshold_play_no_part(study, delta):
    kept = np.abs(delta) > 0.3
    study.write_features(delta, kept)
    before = study.dopamine(retrain_pruned=False)
    study.write_features(np.where(kept, delta, 0.0), kept)
    after = study.dopamine(retrain_pruned=False)
    # the features of the others changed with their delta; those of the kept ones did not
    np.testing.assert_allclose(before["spearman"], after["spearman"], atol=1e-6)


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("nobody", "no training paragraph passes the threshold"),
        ("training", "0 paragraphs: too few for a correlation"),
        ("training and two", "2 paragraphs: too few for a correlation"),
    ],
)
def test_too_few_paragraphs_give_reasons_and_no_number(study, delta, who, reason):
    kept = np.zeros(3 * N, dtype=bool)
    if who != "nobody":
        kept = (np.arange(3 * N) // 3) % 5 > 0
    if who == "training and two":
        kept[:2] = True
    study.write_features(delta, kept)
    table = study.dopamine(random_draws=1, retrain_pruned=False)
    assert table["spearman"].is_null().all()
    assert set(table["reason"]) == {reason}
