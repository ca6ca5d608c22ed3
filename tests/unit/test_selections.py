"""Selections of neurons: by hand on small numbers, nested where they should be, refused where they cannot be."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from workflow_scripts import select_neurons
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.neurons import selection_table
from workflow_scripts.lib.neurons.selections import (
    LayerMeasures,
    matched_neurons,
    random_neurons,
    select,
    sink_free_neurons,
    sinks,
    top,
)
from workflow_scripts.lib.probes.perceptrons import Probes, specs_of
from workflow_scripts.lib.probes.perceptrons import save as save_probes
from workflow_scripts.lib.probes.pruning import selected_count
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.storage.tensors import write_safetensors

D, LAYERS = 40, [2, 3]
IDENTITY: dict[str, Any] = {"model": "m", "revision": None, "fingerprint": "f", "dataset": "q"}
ALL = ["value", "value_final", "random", "random_matched", "random_sink_free", "ntp", "magnitude", "wanda"]
SECTION: dict[str, Any] = {
    "layers": LAYERS,
    "share": 0.05,
    "selections": ALL,
    "draws": 3,
    "dose_layers": [3],
    "dose_selections": ["value", "random_matched"],
    "dose_shares": [0.05, 0.1, 0.3],
    "dose_factor_share": 0.1,
    "seed": 0,
}


@pytest.mark.parametrize(
    ("share", "d", "k"),
    [(0.01, 192, 2), (0.01, 10, 1), (0.01, 3584, 36), (0.05, 192, 10), (1.0, 7, 7), (0.35, 10, 4), (0.07, 150, 10)],
)
def test_the_count_is_rounded_and_at_least_one(share: float, d: int, k: int) -> None:
    assert selected_count(share, d) == k  # 0.07 * 150 is 10.500000000000002: a half, and even ones win


def test_top_takes_the_largest_and_of_equal_ones_the_first() -> None:
    assert top(np.array([1.0, 3.0, 2.0, 3.0, 1.0]), 4) == [1, 3, 2, 0]


def test_random_neurons_are_nested_named_and_uniform() -> None:
    large = random_neurons(20, 12, 0, 2, 1)
    assert large[:5] == random_neurons(20, 5, 0, 2, 1)
    assert len(set(large)) == 12 and set(large) <= set(range(20))
    names = [(0, 2, 1), (1, 2, 1), (0, 3, 1), (0, 2, 2)]
    assert len({tuple(random_neurons(20, 12, *name)) for name in names}) == 4
    counts = Counter(neuron for draw in range(3000) for neuron in random_neurons(6, 2, 0, 1, draw))
    assert all(abs(counts[neuron] - 1000) < 120 for neuron in range(6))


def test_sinks_are_what_lies_beyond_a_hundred_medians() -> None:
    first = np.array([2.0, 1.0, 100.0, 101.0, 3000.0, 0.5, 1.0])
    median = np.median(first)
    assert median == 2.0
    assert np.flatnonzero(sinks(first)).tolist() == [4]
    assert np.flatnonzero(sinks(np.array([1.0, 1.0, 1.0, 100.0, 100.1]))).tolist() == [4]


def test_sink_free_neurons_are_any_but_sinks() -> None:
    first = np.array([1.0, 1.0, 1000.0, 1.0, 1.0, 1000.0, 1.0])
    counts = Counter(neuron for draw in range(3000) for neuron in sink_free_neurons(first, 2, 0, 1, draw))
    assert set(counts) == {0, 1, 3, 4, 6}
    assert all(abs(count - 1200) < 130 for count in counts.values())
    assert sink_free_neurons(first, 5, 0, 1, 0)[:2] == sink_free_neurons(first, 2, 0, 1, 0)
    with pytest.raises(UserError, match="6 of layer 1's neurons are asked for, but only 5"):
        sink_free_neurons(first, 6, 0, 1, 0)


def test_matched_neurons_are_drawn_from_the_ten_nearest() -> None:
    rms = 2.0 ** np.arange(30)
    drawn = Counter(matched_neurons([5], rms, 0, 1, draw)[0] for draw in range(2000))
    assert set(drawn) == {0, 1, 2, 3, 4, 6, 7, 8, 9, 10}
    assert all(abs(count - 200) < 60 for count in drawn.values())
    # at the edge the nearest lie on one side
    assert {matched_neurons([0], rms, 0, 1, draw)[0] for draw in range(300)} == set(range(1, 11))


def test_nearness_is_that_of_logarithms() -> None:
    rms = np.array([10.0, *[1000.0] * 10, *[19.0] * 10, 2.0, 0.0])
    assert {matched_neurons([0], rms, 0, 1, draw)[0] for draw in range(300)} == set(range(11, 21))
    close = np.array([10.0, 1.0, *[30.0] * 9, *[90.0] * 10])  # 1 is nearer to 10 than 30 only without logarithms
    assert {matched_neurons([0], close, 0, 1, draw)[0] for draw in range(300)} == {*range(2, 11), 11}


def test_equally_near_neurons_count_by_index() -> None:
    assert {matched_neurons([3], np.ones(20), 0, 1, draw)[0] for draw in range(300)} == {0, 1, 2, *range(4, 11)}


def test_matched_neurons_are_neither_value_neurons_nor_used_twice() -> None:
    rms = np.ones(8)
    for draw in range(200):
        found = matched_neurons([6, 1, 4, 3], rms, 0, 1, draw)
        assert sorted(found) == [0, 2, 5, 7]
    assert len({tuple(matched_neurons([6, 1, 4, 3], rms, 0, 1, draw)) for draw in range(200)}) == 24
    with pytest.raises(UserError, match=r"interventions\.share, interventions\.dose_shares .*5 value neurons .* 8"):
        matched_neurons([6, 1, 4, 3, 0], rms, 0, 1, 0)


def test_a_neuron_that_is_always_zero_is_matched_with_its_kind() -> None:
    rms = np.array([0.0, 1.0, *[0.0] * 10, 2.0])
    assert {matched_neurons([0], rms, 0, 1, draw)[0] for draw in range(300)} == set(range(2, 12))


def test_every_selection_has_the_same_size_and_its_own_source() -> None:
    scores = {name: np.roll(np.arange(10.0), i) for i, name in enumerate(ALL) if not name.startswith("random")}
    first = np.array([1.0] * 9 + [1000.0])
    measures = LayerMeasures(1, 10, scores, np.ones(10), first)
    for selection in ALL:
        found = select(selection, 0.3, 0, 0, measures)
        assert len(set(found)) == 3
        if selection in scores:
            assert found == np.argsort(-scores[selection]).tolist()[:3]
    assert not set(select("random_matched", 0.3, 0, 0, measures)) & set(select("value", 0.3, 0, 0, measures))
    assert not any(9 in select("random_sink_free", 0.3, draw, 0, measures) for draw in range(50))
    assert any(9 in select("random", 0.3, draw, 0, measures) for draw in range(50))


def write_files(folder: Path, layers: list[int] = LAYERS, **identity: Any) -> None:
    """Probes and measures in which each ranked selection has its own best neurons."""
    own = IDENTITY | identity
    rng = np.random.default_rng(0)
    for place, name in enumerate(["value", "value_final"]):
        specs = specs_of(layers, [0, 1], [1] if name == "value" else [])
        w1 = torch.from_numpy(rng.normal(size=(len(specs), 4, D))).float()
        for i, spec in enumerate(specs):
            # neuron 10 is the best of seed 0, 11 of seed 1, 12 on shuffled labels; 13 only on average
            best = {("true", 0): 10, ("true", 1): 11, ("shuffled", 1): 12}[spec.labels, spec.seed]
            w1[i, :, best + 10 * place] *= 0.0 if spec.labels == "true" else 1.0
            w1[i, :, best + 10 * place] += 100.0 if spec.labels == "true" else 500.0
            w1[i, :, 13 + 10 * place] = 80.0
        zeros = torch.zeros(len(specs), D)
        stack = Probes(specs, w1, zeros[:, :4], zeros[:, :4], zeros[:, 0].clone(), zeros, zeros + 1)
        save_probes(stack, own | {"kind": name}, folder / f"{name}.safetensors")
    ntp: dict[str, torch.Tensor] = {}
    measures: dict[str, torch.Tensor] = {}
    for layer in layers:
        w1 = torch.from_numpy(rng.normal(size=(4, D))).float()
        w1[:, 30 + layer] = -50.0
        ntp[f"layer_{layer}.w1"] = w1
        spread = torch.from_numpy(rng.permutation(D)).double()
        first = torch.ones(D, dtype=torch.float64)
        first[[0, 1][: layer - 1]] = 1e4
        tensors = {"magnitude": spread, "wanda": -spread, "rms": spread + 1, "first": first}
        measures |= {f"layer_{layer}.{name}": tensor for name, tensor in tensors.items()}
    write_safetensors(ntp, own | {"kind": "ntp", "layers": layers}, folder / "ntp.safetensors")
    write_safetensors(measures, own | {"kind": "measures", "layers": layers}, folder / "measures.safetensors")


OPTIONS = {"value": "value-probes", "value_final": "final-probes", "ntp": "ntp-probes", "measures": "measures"}


def run(folder: Path, given: list[str] | None = None, dataset: str = "q", **changes: Any) -> pl.DataFrame:
    params = ["--params", json.dumps({"interventions": SECTION | changes}), "--model", "m", "--dataset", dataset]
    for name, option in OPTIONS.items():  # a rule names the option even if it has no file for it
        present = given is None or name in given
        params += [f"--{option}", *([str(folder / f"{name}.safetensors")] if present else [])]
    output = folder / "neurons.parquet"
    select_neurons.main([*params, "--output", str(output)])
    return read_parquet(output)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("neurons")
    write_files(made)
    return made


@pytest.fixture(scope="module")
def table(folder: Path) -> pl.DataFrame:
    return run(folder)


def neurons(table: pl.DataFrame, selection: str, layer: int = 2, share: float = 0.05, draw: int = 0) -> list[int]:
    return table.filter(layer=layer, selection=selection, share=share, draw=draw)["neurons"].item().to_list()


def test_the_table_has_every_row_once(table: pl.DataFrame) -> None:
    assert dict(table.schema) == selection_table.SCHEMA
    keys = table.select("layer", "selection", "draw", "share")
    assert keys.is_unique().all()
    wanted = set()
    for layer in LAYERS:
        for selection in ALL:
            shares = {0.05, 0.1, 0.3} if layer == 3 and selection in ("value", "random_matched") else {0.05}
            draws = range(3) if selection.startswith("random") else range(1)
            wanted |= {(layer, selection, draw, share) for draw in draws for share in shares}
    assert set(keys.rows()) == wanted
    sizes = table.with_columns(k=pl.col("neurons").list.len(), u=pl.col("neurons").list.n_unique())
    assert (sizes["k"] == sizes["u"]).all()
    assert dict(sizes.select("share", "k").unique().rows()) == {0.05: 2, 0.1: 4, 0.3: 12}


def test_probes_are_averaged_over_the_seeds_on_true_labels(table: pl.DataFrame) -> None:
    assert neurons(table, "value")[0] == 13 and set(neurons(table, "value", 3, 0.1)[:3]) == {10, 11, 13}
    assert 12 not in neurons(table, "value", 3, 0.1)[:3]
    assert neurons(table, "value_final")[0] == 23
    assert neurons(table, "ntp")[0] == 32 and neurons(table, "ntp", 3)[0] == 33


def test_measures_are_ranked(table: pl.DataFrame, folder: Path) -> None:
    from workflow_scripts.lib.storage.tensors import read_safetensors

    magnitude = read_safetensors(folder / "measures.safetensors")[0]["layer_3.magnitude"].tolist()
    assert neurons(table, "magnitude", 3) == [magnitude.index(39), magnitude.index(38)]
    assert neurons(table, "wanda", 3) == [magnitude.index(0), magnitude.index(1)]


def test_doses_are_nested_and_matched_ones_spare_the_value_neurons(table: pl.DataFrame) -> None:
    value = neurons(table, "value", 3, 0.3)
    assert neurons(table, "value", 3, 0.05) == value[:2] and neurons(table, "value", 3, 0.1) == value[:4]
    for draw in range(3):
        assert not set(neurons(table, "random_matched", 3, 0.3, draw)) & set(value)


def test_excluded_sinks_are_recorded(folder: Path, table: pl.DataFrame) -> None:
    metadata = pl.read_parquet_metadata(folder / "neurons.parquet")
    assert json.loads(metadata["sinks_excluded"]) == {"2": 1, "3": 2}
    assert int(metadata["width"]) == D
    assert json.loads(metadata["model"]) == "m" and json.loads(metadata["dataset"]) == "q"


def test_what_is_added_leaves_the_other_rows(folder: Path, table: pl.DataFrame, tmp_path: Path) -> None:
    """Each selection depends on its own layer, share and draw alone."""
    fewer = run(folder, selections=ALL[::-1], layers=[3], draws=2, dose_shares=[0.3], dose_selections=["value"])
    joined = fewer.join(table, on=["layer", "selection", "draw", "share"])
    assert len(joined) == len(fewer)
    assert (joined["neurons"] == joined["neurons_right"]).all()
    other = run(folder, seed=1)
    assert (
        other.filter(selection="random")["neurons"].to_list() != table.filter(selection="random")["neurons"].to_list()
    )


@pytest.mark.parametrize(
    ("selections", "files"),
    [
        (["value"], ["value"]),
        (["value_final"], ["value_final"]),
        (["ntp"], ["ntp"]),
        (["random"], ["measures"]),
        (["magnitude", "wanda", "random_sink_free"], ["measures"]),
        (["random_matched"], ["value", "measures"]),
    ],
)
def test_a_selection_needs_its_own_files_alone(folder: Path, selections: list[str], files: list[str]) -> None:
    found = run(folder, files, selections=selections)
    assert set(found["selection"]) == set(selections)
    for left_out in files:
        with pytest.raises(UserError, match=f"needs --{OPTIONS[left_out]}; give the file"):
            run(folder, [name for name in files if name != left_out], selections=selections)


def test_files_of_another_run_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'value\.safetensors: dataset is "q", but "other" is asked for'):
        run(folder, dataset="other")
    write_files(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    write_files(other, fingerprint="g")
    (other / "ntp.safetensors").rename(tmp_path / "ntp.safetensors")
    with pytest.raises(UserError, match=r'ntp\.safetensors: fingerprint is "g", but "f" is asked for'):
        run(tmp_path)


@pytest.mark.parametrize(
    ("selections", "message"),
    [(["value"], "probes of layer 3"), (["ntp"], "lacks layer 3"), (["random"], "lacks layer 3")],
)
def test_files_without_a_layer_are_refused(tmp_path: Path, selections: list[str], message: str) -> None:
    write_files(tmp_path, layers=[2])
    with pytest.raises(UserError, match=message):
        run(tmp_path, selections=selections)


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "value.safetensors").rename(tmp_path / "value_final.safetensors")
    with pytest.raises(UserError, match='kind is "value", but "value_final" is asked for'):
        run(tmp_path, selections=["value_final"])
    (tmp_path / "measures.safetensors").rename(tmp_path / "ntp.safetensors")
    with pytest.raises(UserError, match='kind is "measures", but ntp is asked for'):
        run(tmp_path, selections=["ntp"])


def test_too_many_value_neurons_to_match_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="21 value neurons of layer 2's 40 leave too few"):
        run(folder, share=0.52, dose_layers=[])
