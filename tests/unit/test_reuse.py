"""What an earlier run made is taken over where it is what would be made again, and nowhere else."""

import json
import os
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.unit.test_no_leak import LAYERS, VALUE, write
from tests.unit.test_no_leak import given as files
from tests.unit.tiny_models import save_tiny_model, tiny_model
from workflow_scripts import dump_activations, train_dopamine_probes, train_ntp_probes, train_value_probes
from workflow_scripts.lib.models.load import decoder_blocks
from workflow_scripts.lib.models.states import Response, dump
from workflow_scripts.lib.runtime import reuse
from workflow_scripts.lib.runtime.dependencies import used_code
from workflow_scripts.lib.runtime.reuse import digest, environment, kept_path
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.storage.tensors import encode_rows, read_safetensors, write_safetensors

FEW: dict[str, Any] = VALUE | {"epochs": 2, "seeds": [0, 1], "shuffled_seeds": [0]}
FIRST, BOTH = LAYERS[:1], LAYERS
Capsys = pytest.CaptureFixture[str]


def content(path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Every tensor's bytes, and the metadata."""
    tensors, metadata = read_safetensors(path)
    return {name: tensor.view(torch.uint8).numpy().tobytes() for name, tensor in tensors.items()}, metadata


def train_value(folder: Path, layers: list[int] = FIRST, name: str = "value", **changes: Any) -> Path:
    path = folder / f"{name}.safetensors"
    path.unlink(missing_ok=True)  # as Snakemake does before it runs a job again
    params = ["--params", json.dumps({"value_probes": FEW | changes}), "--layers", *map(str, layers)]
    train_value_probes.main([*params, *files(folder, "problems", "rollouts", "activations"), "--output", str(path)])
    return path


def train_dopamine(folder: Path, layers: list[int] = FIRST, name: str = "dopamine", **changes: Any) -> Path:
    path, rows = folder / f"{name}.safetensors", [[f"p-{i:03d}", 0, 1] for i in range(30)]
    path.unlink(missing_ok=True)
    rng = np.random.default_rng(0)
    tensors = {f"layer_{layer}": torch.from_numpy(rng.normal(size=(30, 5))).float() for layer in LAYERS}
    tensors = {f"layer_{layer}": tensors[f"layer_{layer}"] for layer in layers}
    tensors |= {"delta": torch.from_numpy(rng.normal(size=30)).float(), "kept": torch.ones(30, dtype=torch.uint8)}
    write_safetensors(tensors | {"rows": encode_rows(rows)}, {"model": "m"}, folder / "features.safetensors")
    section = {key: value for key, value in FEW.items() if not key.startswith(("t", "g"))} | {"normalization": "token"}
    params = ["--params", json.dumps({"dopamine_probes": section | changes})]
    train_dopamine_probes.main([*params, *files(folder, "problems", "features"), "--output", str(path)])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"layers": BOTH}, "kept 3 of 6 probes, 3 new"),
        ({"seeds": [0, 2, 1]}, "kept 3 of 4 probes, 1 new"),
        ({"shuffled_seeds": [1, 0]}, "kept 3 of 4 probes, 1 new"),
        ({"seeds": [1], "shuffled_seeds": []}, "kept 1 of 1 probes, 0 new"),
        ({}, "kept 3 of 3 probes, 0 new"),
    ],
)
@pytest.mark.parametrize("train", [train_value, train_dopamine])
def test_only_what_is_new_is_trained_and_the_file_is_that_of_a_run_from_scratch(
    folder: Path, train: Callable[..., Path], changes: dict[str, Any], kept: str, capsys: Capsys
) -> None:
    first = train(folder)
    before = content(first)
    assert "kept 0 of 3 probes, 3 new" in capsys.readouterr().err
    again = content(train(folder, **changes))
    assert kept in capsys.readouterr().err
    assert again == content(train(folder, name="scratch", **changes))
    assert "kept 0 of" in capsys.readouterr().err
    assert content(train(folder)) == before  # what was removed and comes back, and what only came later


def test_layers_come_in_groups_that_fit_into_memory(folder: Path, capsys: Capsys) -> None:
    train_value(folder)
    path = folder / "value.safetensors"
    params = ["--params", json.dumps({"value_probes": FEW}), "--memory-gb", "0", "--output", str(path)]
    train_value_probes.main([*params, *files(folder, "problems", "rollouts", "activations")])
    assert "kept 3 of 6 probes, 3 new" in capsys.readouterr().err
    assert content(path) == content(train_value(folder, BOTH, "scratch"))


@pytest.mark.parametrize("setting", [{"learning_rate": 0.02}, {"hidden": 7}, {"target": "mc"}, {"gamma": 0.5}])
def test_another_setting_trains_all(folder: Path, setting: dict[str, Any], capsys: Capsys) -> None:
    train_value(folder)
    train_value(folder, **setting)
    assert capsys.readouterr().err.count("kept 0 of 3") == 2


def another_reward(folder: Path) -> None:
    rollouts = read_parquet(folder / "rollouts-1.parquet")
    write_parquet(rollouts.with_columns(reward=(1 - pl.col("reward")).cast(pl.Int8)), folder / "rollouts-1.parquet")


def another_state(folder: Path) -> None:
    path = folder / "activations-1.safetensors"
    tensors, metadata = read_safetensors(path)
    tensors[f"layer_{LAYERS[0]}"][-1, 0] += 1
    write_safetensors(tensors, metadata, path)


@pytest.mark.parametrize("change", [another_reward, another_state])
def test_other_data_train_all(folder: Path, change: Callable[[Path], None], capsys: Capsys) -> None:
    train_value(folder)
    change(folder)
    train_value(folder)
    assert capsys.readouterr().err.count("kept 0 of 3") == 2


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def overwrite(path: Path) -> None:
    path.unlink()
    path.write_text("no tensors")


def forget_origins(path: Path) -> None:
    tensors, metadata = read_safetensors(path)
    path.unlink()
    write_safetensors(tensors, {key: value for key, value in metadata.items() if key != "origins"}, path)


def take_another(path: Path) -> None:
    shutil.copy(train_dopamine(path.parent), path)


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_off, overwrite, forget_origins, take_another, flip_a_bit, Path.unlink])
def test_a_damaged_or_foreign_file_gives_nothing(folder: Path, damage: Callable[[Path], None], capsys: Capsys) -> None:
    whole = content(train_value(folder))
    damage(kept_path(folder / "value.safetensors"))
    capsys.readouterr()
    assert content(train_value(folder)) == whole
    assert "kept 0 of 3" in capsys.readouterr().err


def test_code_and_versions_are_part_of_the_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment("train_value_probes")
    assert environment("train_value_probes") == before != environment("train_ntp_probes")
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "99.0" if name == "torch" else real(name))
    assert environment("train_value_probes") != before
    monkeypatch.undo()
    monkeypatch.setattr(reuse, "PROJECT", tmp_path)
    shutil.copytree("workflow_scripts", tmp_path / "workflow_scripts")
    assert environment("train_value_probes") == before
    with (tmp_path / "workflow_scripts" / "lib" / "report" / "figure_style.py").open("a") as file:
        file.write("# a thought\n")
    assert environment("train_value_probes") == before
    with (tmp_path / "workflow_scripts" / "lib" / "probes" / "perceptrons.py").open("a") as file:
        file.write("# another\n")
    assert environment("train_value_probes") != before


def test_the_rows_that_are_used_are_part_of_the_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new row changes nothing for those who do not use it; the code beside the rows is everybody's."""
    monkeypatch.setattr(reuse, "PROJECT", tmp_path)
    shutil.copytree("workflow_scripts", tmp_path / "workflow_scripts")
    path = tmp_path / "workflow_scripts" / "lib" / "probes" / "targets.py"
    code = path.read_text()

    def origins() -> list[str]:
        used_code.cache_clear()
        return [environment("train_value_probes", used=(("targets", frozenset({name})),)) for name in ("td", "mc")]

    before = origins()
    row = '    "new": ProbeTarget(_new),\n'
    path.write_text(
        code.replace('    "mc": ', row + '    "mc": ') + "\n\ndef _new(*_):\n    return 0\n\n\n# a thought\n"
    )
    assert origins() == before
    path.write_text(code.replace("ahead = following(", "ahead = 1 * following("))
    assert [one == other for one, other in zip(origins(), before, strict=True)] == [False, True]
    path.write_text(code.replace("squared.mean(1)", "squared.sum(1)"))
    assert set(origins()).isdisjoint(before)
    used_code.cache_clear()


def test_a_digest_tells_kinds_shapes_and_values_apart() -> None:
    parts = [[1, 2], [[1, 2]], "[1, 2]", torch.tensor([1, 2]), torch.tensor([[1, 2]]), torch.tensor([1, 2]).int()]
    parts += [torch.tensor([1.0, 2.0]).bfloat16(), torch.tensor([1.0, 2.0]).half(), torch.tensor([1, 3])]
    assert len({digest(part) for part in parts}) == len(parts)
    assert digest(np.array([1, 2])) == digest(torch.tensor([1, 2])) == digest(torch.tensor([1, 9, 2, 9])[::2])
    assert digest("a", "b") != digest("ab") != digest("b", "a")


def test_without_hard_links_all_is_made_anew(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capsys) -> None:
    def refuse(*_: Any) -> None:
        raise OSError("not supported")

    monkeypatch.setattr(os, "link", refuse)
    assert content(train_value(folder)) == content(train_value(folder))
    assert capsys.readouterr().err.count("kept 0 of 3") == 2
    assert not list(folder.glob("*.kept")) and not list(folder.glob(".*"))


def test_a_kept_file_takes_no_room(folder: Path) -> None:
    path = train_value(folder)
    assert path.samefile(kept_path(path))
    assert kept_path(path).name == "value.safetensors.kept" and not list(folder.glob(".*"))


def test_next_token_probes_are_trained_for_new_layers_alone(folder: Path, tmp_path: Path, capsys: Capsys) -> None:
    entry = {"key": "m", "path": str(save_tiny_model(tmp_path / "model")), "revision": None, "trust_remote_code": False}
    section = {key: FEW[key] for key in ("hidden", "epochs", "batch_size", "learning_rate", "weight_decay")}
    inputs = files(folder, "problems", "rollouts", "activations")

    def train(layers: list[int], name: str = "ntp") -> tuple[dict[str, bytes], dict[str, Any]]:
        path = folder / f"{name}.safetensors"
        path.unlink(missing_ok=True)
        ntp = section | {"input_scaling": "zscore", "seed": 0}
        params = {"model": entry, "interventions": {"layers": layers}, "ntp_probes": ntp}
        train_ntp_probes.main(["--params", json.dumps(params), *inputs, "--output", str(path)])
        return content(path)

    first = train(FIRST)
    both = train(BOTH)
    assert "kept 1 of 2 probes, 1 new" in capsys.readouterr().err
    assert both == train(BOTH, "scratch")
    assert train(FIRST) == first
    assert "kept 1 of 1 probes, 0 new" in capsys.readouterr().err


@pytest.fixture
def shard(tmp_path: Path) -> Callable[..., tuple[dict[str, bytes], dict[str, Any]]]:
    """A function that dumps layers of a shard of three responses, one of them without a token."""
    save_tiny_model(tmp_path / "model")
    rows = {"problem_id": ["a", "b", "c"], "sample": [0, 0, 0]}
    rows |= {"prompt_ids": [[13, 14], [15], [16, 17, 18]], "response_ids": [[20, 21], [], [22, 23, 24]]}
    types: dict[str, Any] = {"prompt_ids": pl.List(pl.Int32), "response_ids": pl.List(pl.Int32)}
    write_parquet(pl.DataFrame(rows, schema_overrides=types), tmp_path / "rollouts.parquet")

    def run(
        layers: list[int], name: str = "0", dtype: str = "float32", **model: Any
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        path = tmp_path / f"{name}.safetensors"
        path.unlink(missing_ok=True)
        entry = {"key": "m", "path": str(tmp_path / "model")} | model
        params = {"model": entry, "activations": {"layers": layers, "dtype": dtype}}
        arguments = ["--params", json.dumps(params), "--rollouts", str(tmp_path / "rollouts.parquet")]
        arguments += ["--dataset", "q", "--shard", "0", "--batch-tokens", "64", "--output", str(path)]
        dump_activations.main(arguments)
        return content(path)

    return run


def test_a_pass_is_made_for_new_layers_alone(shard: Callable[..., Any], tmp_path: Path, capsys: Capsys) -> None:
    before = shard([1, 3])
    after = shard([0, 1, 2])
    assert "kept 1 of 3 layers, 2 new" in capsys.readouterr().err
    assert after == shard([0, 1, 2], "scratch")
    assert shard([2]) == shard([2], "fewer")
    assert "kept 1 of 1 layers, 0 new" in capsys.readouterr().err
    assert shard([1, 3]) == before
    shard([1, 3], dtype="float16")
    assert "kept 0 of 2" in capsys.readouterr().err
    rollouts = read_parquet(tmp_path / "rollouts.parquet")
    write_parquet(rollouts.with_columns(sample=pl.lit(1)), tmp_path / "rollouts.parquet")
    shard([1, 3], dtype="float16")
    assert "kept 0 of 2" in capsys.readouterr().err


def test_other_weights_make_every_layer_anew(shard: Callable[..., Any], tmp_path: Path, capsys: Capsys) -> None:
    before, _ = shard([1])
    other = tiny_model("qwen2")
    with torch.no_grad():
        next(iter(other.parameters())).add_(1.0)
    other.save_pretrained(tmp_path / "model")
    capsys.readouterr()
    after, _ = shard([1])
    assert "kept 0 of 1" in capsys.readouterr().err
    assert before["layer_1"] != after["layer_1"]


def test_a_pass_ends_at_the_last_wanted_layer() -> None:
    model, calls = tiny_model("qwen2"), [0, 0, 0]

    def count(number: int) -> Callable[..., None]:
        def seen(*_: Any) -> None:
            calls[number] += 1

        return seen

    for number, block in enumerate(decoder_blocks(model)):
        block.register_forward_hook(count(number))
    responses = [Response("a", 0, [13], [14, 15]), Response("b", 0, [16], [])]
    states = dump(model, responses, [0, 2], torch.float32, 4)
    assert calls == [2, 2, 0]
    whole = dump(model, responses, [0, 2, 3], torch.float32, 4)
    assert calls[2] == 2
    assert all(torch.equal(states.layers[layer], whole.layers[layer]) for layer in (0, 2))
