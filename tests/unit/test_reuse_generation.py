"""What was generated before is taken over where nothing it came from has changed: as a run from scratch would be."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from tests.unit.entries import dataset_entry
from tests.unit.test_guide_search import answer, prepare
from tests.unit.tiny_models import save_tiny_model
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, identity_of
from workflow_scripts.lib.probes.perceptrons import concatenate, load, save
from workflow_scripts.lib.runtime import reuse
from workflow_scripts.lib.runtime.dependencies import used_code
from workflow_scripts.lib.runtime.reuse import kept_path
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet
from workflow_scripts.lib.storage.tensors import write_safetensors
from workflow_scripts.mask_neurons import main

Capsys = pytest.CaptureFixture[str]
Tables = tuple[pl.DataFrame, pl.DataFrame]
WANTED: dict[str, Any] = {
    "n_problems": 4,
    "share": 0.1,
    "selections": ["value", "random"],
    "mode": "mean",
    "dose_layers": [1],
    "dose_selections": ["value"],
    "dose_shares": [],
    "dose_factors": [],
    "dose_factor_share": 0.5,
}
ROLLOUTS = {"engine": "transformers", "max_tokens": 6, "temperature": 1.0, "top_p": 0.9, "stop": "default", "seed": 0}
ROWS = [(1, "value", 0, 0.1, [3]), (1, "random", 0, 0.1, [5]), (1, "value", 0, 0.5, [3, 4])]


def write_neurons(folder: Path, rows: list[Any]) -> None:
    columns = ["layer", "selection", "draw", "share", "neurons"]
    write_parquet(pl.DataFrame(rows, schema=columns, orient="row"), folder / "neurons.parquet", {"kind": '"neurons"'})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny model, four problems with their prompts, neurons and means of layer 1."""
    model = ModelConfig("m", str(save_tiny_model(tmp_path / "model")))
    problems = [(f"p{i}", i, f"What is {i} ?", "1", None) for i in range(4)]
    names = ["problem_id", "position", "question", "gold", "spec"]
    frame = pl.DataFrame(problems, schema=names, orient="row", schema_overrides={"spec": pl.String})
    write_parquet(frame, tmp_path / "problems.parquet", {"kind": '"problems"'})
    prompts = [(f"p{i}", 0, [6, 7, 8, 20 + i]) for i in range(4)]
    frame = pl.DataFrame(prompts, schema=["problem_id", "sample", "prompt_ids"], orient="row")
    write_parquet(frame, tmp_path / "rollouts.parquet", {"kind": '"rollouts"'})
    write_neurons(tmp_path, ROWS)
    about = identity_of(model)
    write_safetensors({"layer_1.mean": torch.linspace(-1, 1, 32)}, about, tmp_path / "measures.safetensors")
    return tmp_path


def mask(folder: Path, name: str = "0", wanted: dict[str, Any] | None = None, **rollouts: Any) -> Tables:
    entry = {"key": "m", "path": str(folder / "model"), "revision": None, "trust_remote_code": False}
    params = {"model": entry, "dataset": dataset_entry(answer="boxed_integer"), "rollouts": ROLLOUTS | rollouts}
    params |= {"interventions": WANTED | (wanted or {}), "grading": {"allow_unsandboxed": False}}
    responses, proofs = folder / f"{name}.parquet", folder / f"{name}.proofs.parquet"
    given = ["--params", json.dumps(params), "--layer", "1", "--measures", str(folder / "measures.safetensors")]
    for kind in ("problems", "rollouts", "neurons"):
        given += [f"--{kind}", str(folder / f"{kind}.parquet")]
    main([*given, "--output", str(responses), "--proofs", str(proofs)])
    return read_parquet(responses), read_parquet(proofs)


def same(left: Tables, right: Tables) -> bool:
    return all(one.equals(other) for one, other in zip(left, right, strict=True))


def test_only_new_conditions_are_generated(folder: Path, capsys: Capsys) -> None:
    first = mask(folder)
    assert len(first[1]) == 2 and "kept 0 of 2 conditions, 2 new" in capsys.readouterr().err
    assert same(mask(folder), first) and "kept 2 of 2 conditions, 0 new" in capsys.readouterr().err
    more = mask(folder, wanted={"dose_shares": [0.5]})
    assert "kept 2 of 3 conditions, 1 new" in capsys.readouterr().err
    assert same(more, mask(folder, "scratch", wanted={"dose_shares": [0.5]})) and len(more[1]) == 3
    assert "kept 0 of 3" in capsys.readouterr().err


def test_other_neurons_are_generated_for_their_condition_alone(folder: Path, capsys: Capsys) -> None:
    mask(folder)
    write_neurons(folder, [ROWS[0], (1, "random", 0, 0.1, [6]), ROWS[2]])
    found = mask(folder)
    assert "kept 1 of 2 conditions, 1 new" in capsys.readouterr().err
    assert same(found, mask(folder, "scratch"))


@pytest.mark.parametrize("changed", [{"seed": 1}, {"temperature": 0.5}, {"max_tokens": 5}])
def test_other_sampling_generates_all(folder: Path, changed: dict[str, Any], capsys: Capsys) -> None:
    mask(folder)
    capsys.readouterr()
    found = mask(folder, **changed)
    assert "kept 0 of 2 conditions, 2 new" in capsys.readouterr().err
    assert same(found, mask(folder, "scratch", **changed))


def other_prompts(folder: Path) -> None:
    frame = read_parquet(folder / "rollouts.parquet", by_hand=True).with_columns(prompt_ids=pl.lit([6, 7, 30]))
    write_parquet(frame, folder / "rollouts.parquet", {"kind": '"rollouts"'})


def other_means(folder: Path) -> None:
    about = identity_of(ModelConfig("m", str(folder / "model")))
    write_safetensors({"layer_1.mean": torch.linspace(-2, 2, 32)}, about, folder / "measures.safetensors")


def half_kept(folder: Path) -> None:
    """As after kill -9 between the two files: proofs of this run beside responses of another."""
    proofs = kept_path(folder / "0.proofs.parquet").read_bytes()
    mask(folder, seed=1)
    kept_path(folder / "0.proofs.parquet").write_bytes(proofs)


def cut_off(folder: Path) -> None:
    path = kept_path(folder / "0.parquet")
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize("change", [other_prompts, other_means, half_kept, cut_off])
def test_what_came_from_something_else_is_generated_anew(
    folder: Path, change: Callable[[Path], None], capsys: Capsys
) -> None:
    mask(folder)
    change(folder)
    capsys.readouterr()
    found = mask(folder)
    assert "kept 0 of 2 conditions, 2 new" in capsys.readouterr().err
    assert same(found, mask(folder, "scratch"))


def add_layer(path: Path) -> None:
    """Probes of one more layer in a file of probes."""
    probes, about = load(path)
    other = replace(probes, specs=[replace(spec, layer=3) for spec in probes.specs])
    save(concatenate([other, probes]), about, path)


def test_a_search_is_kept_when_its_files_of_probes_gain_a_layer(tmp_path: Path, capsys: Capsys) -> None:
    folder = prepare(tmp_path)
    methods: dict[str, Any] = {"methods": ["dopamine", "best_of_n"], "max_tokens": 48}
    first = answer(folder, **methods)
    assert "kept 0 of 2 methods, 2 new" in capsys.readouterr().err
    for kind in ("dopamine", "value"):
        add_layer(folder / f"{kind}.safetensors")
    assert same(answer(folder, **methods), first)  # to the second
    assert "kept 2 of 2 methods" in capsys.readouterr().err
    answer(folder, seed=1, **methods)
    assert "kept 0 of 2 methods, 2 new" in capsys.readouterr().err
    probes, about = load(folder / "value.safetensors")
    probes.w1[-1] *= -1
    save(probes, about, folder / "value.safetensors")
    changed = answer(folder, seed=1, **methods)
    assert "kept 1 of 2 methods, 1 new" in capsys.readouterr().err  # the value probes are best_of_n's
    scratch = answer(folder, "scratch", seed=1, **methods)
    assert changed[0].drop("seconds").equals(scratch[0].drop("seconds")) and changed[1].equals(scratch[1])


def test_an_added_method_is_all_that_is_searched_by(tmp_path: Path, capsys: Capsys) -> None:
    """The methods on whole responses spend what `dopamine` spent, whether it ran now or before."""
    folder, length = prepare(tmp_path), 48
    steps = {
        ("dopamine", "greedy"): "kept 0 of 2",
        ("dopamine", "greedy", "majority", "random"): "kept 2 of 4",
        ("greedy", "majority"): "kept 1 of 2",  # without `dopamine`, majority has another budget
        ("dopamine", "majority"): "kept 0 of 2",  # only the last run's answers are there
    }
    for number, (methods, kept) in enumerate(steps.items()):
        found = answer(folder, methods=list(methods), max_tokens=length)
        assert kept in capsys.readouterr().err, methods
        scratch = answer(folder, f"scratch{number}", methods=list(methods), max_tokens=length)
        capsys.readouterr()
        assert found[0].drop("seconds").equals(scratch[0].drop("seconds")) and found[1].equals(scratch[1])


def test_a_search_depends_on_the_rows_of_its_methods_and_on_the_code_beside_them(
    tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepare(tmp_path)

    def kept() -> bool:
        """Whether the greedy search of an earlier run is taken over."""
        answer(folder, methods=["greedy"], max_tokens=12)
        return "kept 1 of 1 methods" in capsys.readouterr().err

    assert (kept(), kept()) == (False, True)
    monkeypatch.setattr(reuse, "PROJECT", tmp_path)
    shutil.copytree("workflow_scripts", tmp_path / "workflow_scripts")

    def edit(name: str, old: str, new: str) -> None:
        path = tmp_path / "workflow_scripts" / "lib" / name
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))
        used_code.cache_clear()

    assert kept()
    edit("search/methods.py", '"random": Method("', '"random": Method("another ')
    edit("search/scorers.py", "return lambda step, open_, drawn: [", "return lambda step, open_, drawn: 1 * [")
    edit("grading/grade.py", "return grade_math(", "return 1 and grade_math(")
    assert kept()
    edit("search/methods.py", '"greedy": Method("', '"greedy": Method("another ')
    assert (kept(), kept()) == (False, True)
    edit("search/scorers.py", "parts: list[Any] = []", "parts: list[Any] = list()")
    assert (kept(), kept()) == (False, True)
    used_code.cache_clear()


def test_probes_that_see_the_future_are_refused_also_beside_a_kept_search(tmp_path: Path) -> None:
    methods: dict[str, Any] = {"methods": ["dopamine"], "max_tokens": 48}
    answer(prepare(tmp_path), **methods)
    probes, about = load(tmp_path / "dopamine.safetensors")
    save(probes, about | {"config": {"normalization": "response"}}, tmp_path / "dopamine.safetensors")
    with pytest.raises(UserError, match="not trained on causal features"):
        answer(tmp_path, **methods)
