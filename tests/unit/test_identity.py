"""Files of another model, revision, data set, kind or shard are refused by name, whichever input they stand in for."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.storage.identity import group_by_run, require, same_run, table_metadata
from workflow_scripts.lib.storage.tables import write_parquet

MINE: dict[str, Any] = {"model": "grpo", "revision": "1", "fingerprint": "f", "dataset": "ledger"}


def put(path: Path, /, kind: str = "rollouts", **says: Any) -> Path:
    write_parquet(pl.DataFrame({"x": [1]}), path, table_metadata(kind, MINE | says))
    return path


def test_files_of_one_run_go_together(tmp_path: Path) -> None:
    shards = [put(tmp_path / f"{shard}.parquet", shard=shard) for shard in range(3)]
    values = put(tmp_path / "values.parquet", kind="values")
    assert same_run({}, rollouts=shards, values=values) == MINE
    assert same_run({"model": "grpo", "shard": 1}, rollouts=shards[1], values=values) == MINE


@pytest.mark.parametrize(
    ("key", "value"), [("model", "ppo"), ("revision", None), ("fingerprint", "g"), ("dataset", "quilt")]
)
def test_the_foreign_one_of_several_is_named(tmp_path: Path, key: str, value: str | None) -> None:
    changed: dict[str, Any] = {key: value}
    own, foreign = put(tmp_path / "0.parquet", shard=0), put(tmp_path / "1.parquet", shard=1, **changed)
    with pytest.raises(
        UserError, match=rf"^{foreign}: {key} is .*, but \"\w+\" in {own}; delete the one that does not"
    ):
        same_run({}, rollouts=[own, foreign])
    with pytest.raises(UserError, match=rf"^{foreign}: {key} is .* in the job; delete"):
        same_run(MINE, rollouts=[foreign])


def test_another_shard_kind_or_layer_and_one_given_twice(tmp_path: Path) -> None:
    first, copy = put(tmp_path / "0.parquet", shard=0, layer=2), put(tmp_path / "1.parquet", shard=0, layer=2)
    with pytest.raises(UserError, match=r"0\.parquet: shard is 0, but 1 in the job"):
        same_run({"shard": 1}, rollouts=first)
    with pytest.raises(UserError, match=r"0\.parquet: layer is 2, but 3 in the job"):
        same_run({"layer": 3}, rollouts=first)
    with pytest.raises(UserError, match=r"1\.parquet: shard 0, as .*0\.parquet"):
        same_run({}, rollouts=[first, copy])
    with pytest.raises(UserError, match=r'0\.parquet: kind is "rollouts", but "values" is asked for'):
        same_run({}, values=first)
    assert same_run({}, any=[first, put(tmp_path / "2.parquet", shard=0, layer=3)]) == MINE


def test_a_table_under_the_name_of_another_run_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "ppo" / "ledger" / "0.parquet", shard=0)
    with pytest.raises(UserError, match=r'0\.parquet: model is "grpo", but "ppo" in the job'):
        group_by_run([path], "shard")
    moved = put(tmp_path / "grpo" / "ledger" / "3" / "0.parquet", kind="masked", shard=0, layer=2)
    with pytest.raises(UserError, match=r"0\.parquet: layer is 2, but 3 in the job"):
        group_by_run([moved], "layer")


def test_metadata_must_say_what_is_asked_for() -> None:
    with pytest.raises(UserError, match='x: dtype is null, but "float16" is asked for; delete it and run again'):
        require("x", MINE, {"model": "grpo", "dtype": "float16"})
