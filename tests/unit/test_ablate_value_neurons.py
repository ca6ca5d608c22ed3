"""Ablation: held neurons are proven, the unablated pass gives the stored states, batches and shards change nothing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
import traced_runs as runs

from workflow_scripts import ablate_value_neurons, tabulate_trajectories, trace_neurons
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, load_model
from workflow_scripts.lib.models.states import hooked
from workflow_scripts.lib.probes import perceptrons
from workflow_scripts.lib.probes.features import zscore_response
from workflow_scripts.lib.storage.tensors import read_safetensors, write_safetensors
from workflow_scripts.lib.trajectories.ablation import conditions
from workflow_scripts.lib.trajectories.traces import Traced, read_trace, write_trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = runs.tiny_run(tmp_path_factory.mktemp("run"))
    trace_neurons.main(runs.trace_arguments(made))
    ablate_value_neurons.main(runs.ablate_arguments(made))
    return made


def table(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "ablated.parquet")


def about(folder: Path, key: str) -> Any:
    return json.loads(pl.read_parquet_metadata(folder / "ablated.parquet")[key])


def test_there_is_a_row_for_each_response_neuron_condition_and_draw(folder: Path) -> None:
    found = table(folder)
    assert len(found) == 7 * 3 * (1 + 1 + 2 + 2)  # one of eight responses to validation problems has no token
    assert found["condition"].unique().sort().to_list() == ["none", "random", "random_matched", "value"]
    dopamine = [one.neuron for one in read_trace(folder / "traced.parquet").neurons[:3]]
    assert set(found["neuron"]) == set(dopamine)
    order = found.select("problem_id", "sample", "neuron").unique(maintain_order=True)
    assert order.equals(order.sort("problem_id", "sample", "neuron"))


def test_every_condition_is_proven_at_every_layer(folder: Path) -> None:
    proofs = about(folder, "proofs")
    assert len(proofs) == (1 + 2 + 2) * 2
    for proof in proofs:
        assert proof["changed"] == proof["processed"] > 0 and proof["largest_miss"] == 0
        assert proof["n_neurons"] == len(set(proof["neurons"])) == 8


def test_the_unablated_pass_is_the_stored_one(folder: Path) -> None:
    assert about(folder, "largest_gap") < 1e-3
    traced = read_trace(folder / "traced.parquet")
    stored = {row["problem_id"]: row["activations"] for row in traced.responses.iter_rows(named=True)}
    places = {one.neuron: place for place, one in enumerate(traced.neurons)}
    none = table(folder).filter(pl.col("condition") == "none")
    for row in none.iter_rows(named=True):
        assert np.allclose(row["trajectory"], stored[row["problem_id"]][places[row["neuron"]]], atol=0.02)
    assert none["correlation"].is_null().all()


def test_the_value_condition_holds_the_top_neurons_of_all_layers_at_once(folder: Path) -> None:
    stack, _ = perceptrons.load(folder / "value.safetensors")
    model = load_model(ModelConfig("tiny", str(folder / "model")))
    held = {}
    for layer in (1, 2):
        importance = perceptrons.importance(stack.of(layer=layer, labels="true")).mean(0)
        held[layer] = importance.argsort(descending=True)[:8]
    rollout = pl.read_parquet(runs.files(folder, "rollouts", "parquet")[0]).row(3, named=True)
    ids = [*rollout["prompt_ids"], *rollout["response_ids"]]
    kept: dict[int, torch.Tensor] = {}
    handles = [
        model.model.layers[layer - 1].register_forward_hook(
            lambda _m, _a, out, neurons=neurons: out.index_fill(-1, neurons, 0.0)
        )
        for layer, neurons in held.items()
    ]
    with hooked(model, [runs.LAYER], lambda layer, states: kept.update({layer: states[0]})), torch.inference_mode():
        model.base_model(input_ids=torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    states = kept[runs.LAYER][len(rollout["prompt_ids"]) - 1 :].half()
    mine = (pl.col("condition") == "value") & (pl.col("problem_id") == rollout["problem_id"])
    for row in table(folder).filter(mine).iter_rows(named=True):
        expected = zscore_response(states)[:, row["neuron"]].numpy()
        assert np.allclose(row["trajectory"], expected, atol=0.02)
        assert np.allclose(row["means"], expected.reshape(3, 3).mean(1), atol=0.02)
        assert row["own_layers"] == sum(row["neuron"] in neurons for neurons in held.values())


def test_correlation_and_rmse_are_those_of_the_trajectories(folder: Path) -> None:
    found = table(folder)
    key = ["problem_id", "neuron"]
    plain = found.filter(pl.col("condition") == "none").select(*key, plain="trajectory")
    for row in found.filter(pl.col("condition") == "random").join(plain, on=key).iter_rows(named=True):
        own, before = np.array(row["trajectory"]), np.array(row["plain"])
        assert row["correlation"] == pytest.approx(np.corrcoef(own, before)[0, 1], abs=1e-5)
        assert row["rmse"] == pytest.approx(np.sqrt(((own - before) ** 2).mean()), abs=1e-5)


def test_batches_and_the_order_of_shards_change_nothing(folder: Path) -> None:
    before = table(folder)
    ablate_value_neurons.main(runs.ablate_arguments(folder, batch_tokens=16, reverse=True))
    after = table(folder)
    names = [name for name in before.columns if name not in ("correlation", "rmse", "means", "trajectory")]
    assert after.select(names).equals(before.select(names))
    for name in ("correlation", "rmse"):
        assert np.allclose(after[name].drop_nulls(), before[name].drop_nulls(), atol=0.01)


def test_sets_have_one_size_and_matched_ones_leave_the_value_neurons_out() -> None:
    rng = np.random.default_rng(0)
    importance = {layer: rng.random(40) for layer in (1, 2)}
    rms = {layer: rng.random(40) + 0.1 for layer in (1, 2)}
    found = conditions(importance, rms, 0.2, 2, 0)
    assert [(one.name, one.draw) for one in found] == [
        *(("none", 0), ("value", 0), ("random", 0), ("random", 1)),
        *(("random_matched", 0), ("random_matched", 1)),
    ]
    assert all(len(set(held)) == 8 for one in found[1:] for held in one.ablated.values())
    value = found[1].ablated
    assert value[1] == np.argsort(-importance[1])[:8].tolist()
    assert all(not set(value[layer]) & set(one.ablated[layer]) for one in found[4:] for layer in (1, 2))
    assert [one.name for one in conditions(importance, rms, 0.6, 1, 0)] == ["none", "value", "random"]
    assert [one.name for one in conditions(importance, {}, 0.2, 1, 0)] == ["none", "value", "random"]


def test_without_layers_the_file_is_empty(folder: Path, tmp_path: Path) -> None:
    arguments = runs.ablate_arguments(folder, ablated_layers=[])
    ablate_value_neurons.main([*arguments[:-1], str(tmp_path / "ablated.parquet")])
    assert len(table(tmp_path)) == 0 and about(tmp_path, "ablated_layers") == []
    assert table(tmp_path).columns == table(folder).columns


def test_stored_states_of_another_model_are_refused(folder: Path, tmp_path: Path) -> None:
    paths = []
    for path in runs.files(folder, "activations", "safetensors"):
        tensors, metadata = read_safetensors(path)
        changed = {name: t * 1.1 if name == "layer_3" else t for name, t in tensors.items()}
        paths.append(str(tmp_path / Path(path).name))
        write_safetensors(changed, metadata, paths[-1])
    arguments = runs.ablate_arguments(folder)
    place = arguments.index("--activations")
    with pytest.raises(UserError, match=r"p-0\d\d, sample 0: the stored states are not those of the model"):
        ablate_value_neurons.main([*arguments[: place + 1], *paths, *arguments[place + 3 :]])


def test_without_validation_responses_the_file_is_empty_and_tables_follow(folder: Path, tmp_path: Path) -> None:
    traced = read_trace(folder / "traced.parquet")
    path = tmp_path / "tiny" / "sums.parquet"
    write_trace(Traced(**(vars(traced) | {"responses": traced.of("train").responses})), path)
    arguments = runs.ablate_arguments(folder)
    arguments[arguments.index("--traced") + 1] = str(path)
    ablate_value_neurons.main([*arguments[:-1], str(tmp_path / "tiny/sums/ablated.parquet")])
    params = json.dumps({"pruning": {"bootstrap": 50, "confidence": 0.95, "seed": 0}})
    flags = ["--params", params, "--traced", str(path), "--ablated", str(tmp_path / "tiny/sums/ablated.parquet")]
    scores = ["--scores", str(tmp_path / "scores.parquet"), "--ablated-scores", str(tmp_path / "ablated.parquet")]
    tabulate_trajectories.main([*flags, *scores, "--output-dir", str(tmp_path)])
    assert len(pl.read_parquet(tmp_path / "ablation_contrasts.parquet")) == 0
    followed = pl.read_parquet(tmp_path / "trajectories.parquet")
    assert len(followed) == 6 + 3 and followed["reason"].is_not_null().all() and followed["n"].to_list() == [0] * 9
