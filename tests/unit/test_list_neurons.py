import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from synthetic_probes import noisy, top, write

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.neurons.neuron_list import MEANING, ORDER, SCHEMA
from workflow_scripts.list_neurons import main

D = 20
SHARE = 0.1


def listed(folder: Path, value: list[Path], dopamine: list[Path] | None = None, model: str = "grpo") -> pl.DataFrame:
    params = json.dumps({"interventions": {"share": SHARE}})
    files = ["--value", *map(str, value), "--dopamine", *map(str, dopamine or [])]
    main(["--params", params, "--model", model, *files, "--output", str(folder / "neurons.parquet")])
    return pl.read_parquet(folder / "neurons.parquet")


def test_importance_rank_and_stability_of_every_neuron(tmp_path: Path) -> None:
    """Two of twenty are the top: 7 and 3 for seeds 0 and 1, 3 and 5 for seed 4."""
    probes = {(2, 0, "true"): top(D, [7, 3]), (2, 1, "true"): top(D, [3, 7]), (2, 4, "true"): top(D, [3, 5])}
    shuffled = {(2, seed, "shuffled"): top(D, [11, 12]) for seed in range(4)}
    table = listed(tmp_path, [write(tmp_path, "grpo/ledger", probes | shuffled)])
    assert table.schema == SCHEMA and len(table) == 3 * D
    first = table.filter(pl.col("seed") == 0)
    assert first["rank"].to_list() == list(range(1, D + 1))
    assert first["neuron"].to_list()[:4] == [7, 3, 0, 1]
    assert first["importance"].to_list() == pytest.approx(list(range(D, 0, -1)))
    stable = {n: s for n, s in table.select("neuron", "stability").iter_rows() if s > 0}
    assert stable == {3: 1.0, 7: pytest.approx(2 / 3), 5: pytest.approx(1 / 3)}
    assert table.filter(neuron=7)["stability"].n_unique() == 1


def test_equal_importances_rank_in_the_order_of_their_number(tmp_path: Path) -> None:
    table = listed(tmp_path, [write(tmp_path, "grpo/ledger", {(2, 0, "true"): np.ones(D)})])
    assert table["neuron"].to_list() == list(range(D)) and table["rank"].to_list() == list(range(1, D + 1))


def test_all_runs_and_kinds_of_the_model_in_one_order(tmp_path: Path) -> None:
    value = [write(tmp_path, f"grpo/{name}", noisy(D, [0, 1], 1.0, i, (3, 2))) for i, name in enumerate("ba")]
    dopamine = [write(tmp_path, "grpo/a", noisy(D, [1, 0], 1.0, 2), "dopamine", revision=None)]
    table = listed(tmp_path, value, dopamine)
    assert table.equals(table.sort(ORDER)) and not table.select(ORDER).is_duplicated().any()
    runs = table.select("dataset", "kind", "layer").unique(maintain_order=True).rows()
    assert runs == [("a", "dopamine", 2), ("a", "value", 2), ("a", "value", 3), ("b", "value", 2), ("b", "value", 3)]
    assert listed(tmp_path, value[::-1], dopamine).equals(table)


def test_the_file_explains_itself(tmp_path: Path) -> None:
    path = write(tmp_path, "grpo/ledger", noisy(D, [0], 1.0, 0), revision="abc")
    table = listed(tmp_path, [path])
    assert table["revision"].unique().to_list() == ["abc"]
    facts = pl.read_parquet_metadata(tmp_path / "neurons.parquet")
    assert {facts["model"], facts["revision"], facts["fingerprint"]} == {"grpo", "abc", "of grpo"}
    assert [json.loads(facts[key]) for key in ("d", "k", "share")] == [D, 2, SHARE]
    assert list(json.loads(facts["columns"])) == sorted(table.columns) and set(MEANING) == set(table.columns)
    assert json.loads(facts["training"]) == {"ledger/value": {"probe": {"hidden": 2}, "n_training": 8}}


def test_a_local_model_has_no_revision(tmp_path: Path) -> None:
    table = listed(tmp_path, [write(tmp_path, "grpo/ledger", noisy(D, [0], 1.0, 0))])
    assert table["revision"].null_count() == len(table) == D and table.schema["revision"] == pl.String


def test_bad_input_is_refused(tmp_path: Path) -> None:
    probes = noisy(D, [0], 1.0, 0)
    good, of_ppo = write(tmp_path, "grpo/a", probes), write(tmp_path, "ppo/a", probes)
    with pytest.raises(UserError, match="probes of ppo, but grpo is asked for"):
        listed(tmp_path, [good, of_ppo])
    with pytest.raises(UserError, match="no probes to list neurons of"):
        listed(tmp_path, [])
    with pytest.raises(UserError, match="another version of grpo"):
        listed(tmp_path, [good], [write(tmp_path, "grpo/b", probes, "dopamine", revision="abc")])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        listed(tmp_path, [tmp_path / "grpo" / "a" / "value.safetensors"])
    assert not (tmp_path / "neurons.parquet").exists()
