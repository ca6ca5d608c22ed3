"""The rules from problems to hidden states, run through their `main` on a tiny model; sharding changes no record."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.unit.entries import dataset_entry
from tests.unit.tiny_models import save_tiny_model
from workflow_scripts import dump_activations, grade_rollouts, prepare_problems, sample_rollouts
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import read_layer
from workflow_scripts.lib.models.load import fingerprint
from workflow_scripts.lib.storage.tables import read_parquet
from workflow_scripts.lib.storage.tensors import read_metadata

GRADED = '{"dataset": {"answer": "boxed_integer", "response_prefix": ""}, "grading": {"allow_unsandboxed": false}}'
SPLIT = {"train_ratio": 0.8, "seed": 0}
ROLLOUTS = {"engine": "transformers", "max_tokens": 12, "temperature": 1.0, "top_p": 0.95, "n_samples": 2}
ROLLOUTS |= {"stop": "default", "seed": 0}


def problem_file(folder: Path, n: int) -> Path:
    lines = [json.dumps({"question": f"What is the w{20 + i} ?", "answer": i}) for i in range(n)]
    (folder / "p.jsonl").write_text("\n".join(lines))
    return folder / "p.jsonl"


def prepare(folder: Path, n: int, shard: int = 0, **changes: Any) -> pl.DataFrame:
    dataset = dataset_entry(path=str(folder / "p.jsonl"), n_problems=n) | changes
    params = json.dumps({"dataset": dataset, "split": SPLIT})
    prepare_problems.main(["--params", params, "--shard", str(shard), "--output", str(folder / "problems.parquet")])
    return read_parquet(folder / "problems.parquet")


def sample(folder: Path, shard: int, shard_size: int, batch_size: int = 4, **changes: Any) -> pl.DataFrame:
    params = {"model": {"key": "m", "path": str(folder / "model"), "instruction": ""} | changes.pop("model", {})}
    params |= {"dataset": dataset_entry(shard_size=shard_size), "rollouts": ROLLOUTS | changes}
    arguments = ["--params", json.dumps(params), "--problems", str(folder / "problems.parquet"), "--shard", str(shard)]
    output = folder / f"samples-{shard}.parquet"
    sample_rollouts.main([*arguments, "--batch-size", str(batch_size), "--output", str(output)])
    return read_parquet(output)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_tiny_model(tmp_path / "model")
    problem_file(tmp_path, 10)
    prepare(tmp_path, 10)
    return tmp_path


def test_problems_keep_their_part_when_the_data_set_grows(tmp_path: Path) -> None:
    problem_file(tmp_path, 200)
    small, large = prepare(tmp_path, 50), prepare(tmp_path, 200)
    assert small.equals(large.head(50))
    assert large.columns == ["problem_id", "position", "question", "gold", "spec", "place", "split"]
    assert large["problem_id"][3] == "mine-000003"
    assert large["position"].to_list() == list(range(200))
    assert 0.7 < (large["split"] == "train").mean() < 0.9  # type: ignore[operator]
    assert set(large["split"]) == {"train", "validation"}


@pytest.mark.parametrize("source", [{"source": "file"}, {"source": "reference", "task": "locks", "key": "locks"}])
def test_a_shard_holds_its_part_of_the_problems_however_many_there_are(tmp_path: Path, source: dict[str, Any]) -> None:
    problem_file(tmp_path, 25)
    whole = prepare(tmp_path, 25, shard_size=100, **source)
    parts, said = [], []
    for shard, end in enumerate([10, 20, 25]):
        parts.append(prepare(tmp_path, end, shard, shard_size=10, **source))
        said.append(pl.read_parquet_metadata(tmp_path / "problems.parquet")["content"])
    assert [len(part) for part in parts] == [10, 10, 5]
    assert pl.concat(parts).equals(whole)
    assert len(set(said)) == 3
    with (tmp_path / "p.jsonl").open("a") as file:
        file.write("\n" + json.dumps({"question": "What is the w99 ?", "answer": 1}))
    assert prepare(tmp_path, 20, 1, shard_size=10, **source).equals(parts[1])
    assert pl.read_parquet_metadata(tmp_path / "problems.parquet")["content"] == said[1]


def test_too_few_records(tmp_path: Path) -> None:
    problem_file(tmp_path, 3)
    with pytest.raises(UserError, match=r"contains 3 records, but datasets\.mine\.n_problems asks for 4"):
        prepare(tmp_path, 4)


def test_reference_problems(tmp_path: Path) -> None:
    found = prepare(tmp_path, 20, source="reference", task="ledger", key="ledger")
    assert found["problem_id"][19] == "ledger-000019"
    assert found["question"].n_unique() == 20
    assert all(gold.lstrip("-").isdigit() for gold in found["gold"])


def test_shards_and_batches_change_no_record(folder: Path) -> None:
    whole = sample(folder, 0, 10, batch_size=64)
    assert whole.height == 20
    assert whole["sample"].to_list() == [0, 1] * 10
    parts = pl.concat([sample(folder, shard, 4, batch_size=3) for shard in range(3)])
    assert whole.drop("logprobs").equals(parts.drop("logprobs"))
    assert whole["response_ids"].n_unique() > 15
    for row in whole.iter_rows(named=True):
        assert len(row["logprobs"]) == len(row["response_ids"]) <= 12
        assert (row["finish_reason"] == "length") == (len(row["response_ids"]) == 12)


def test_a_second_run_gives_the_same_bytes(folder: Path) -> None:
    sample(folder, 0, 5)
    first = (folder / "samples-0.parquet").read_bytes()
    sample(folder, 0, 5)
    assert (folder / "samples-0.parquet").read_bytes() == first
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_prompt_longer_than_the_context(folder: Path) -> None:
    (folder / "p.jsonl").write_text(json.dumps({"question": "What " * 200, "answer": 1}))
    prepare(folder, 1)
    with pytest.raises(UserError, match=r"p\.jsonl: line 1: the prompt has 202 tokens, but model m reads 128"):
        sample(folder, 0, 10)
    with pytest.raises(UserError, match="shard 7 does not exist: the data set has only 1 problems"):
        sample(folder, 7, 10)


def test_graded_and_dumped(folder: Path) -> None:
    samples = sample(folder, 0, 10)
    with_boxes = samples.with_columns(
        pl.when(pl.col("sample") == 0).then(pl.lit("\\boxed{3}")).otherwise(pl.col("text")).alias("text"),
        pl.when(pl.col("problem_id") == "mine-000004")
        .then(pl.lit("length"))
        .otherwise(pl.lit("stop"))
        .alias("finish_reason"),
    )
    with_boxes.write_parquet(folder / "samples.parquet")
    arguments = ["--params", GRADED]
    arguments += ["--samples", str(folder / "samples.parquet"), "--problems", str(folder / "problems.parquet")]
    grade_rollouts.main([*arguments, "--output", str(folder / "rollouts.parquet")])
    graded = read_parquet(folder / "rollouts.parquet")
    assert graded.columns == [*samples.columns, "reward", "truncated", "answer", "reason", "loose"]
    assert graded.schema["reward"] == pl.Int8
    assert graded.filter(pl.col("reward") == 1).select("problem_id", "sample").rows() == [("mine-000003", 0)]
    assert set(graded.filter(pl.col("truncated"))["problem_id"]) == {"mine-000004"}
    assert set(graded.filter((pl.col("sample") == 1) & ~pl.col("truncated"))["reason"]) == {"unparsable"}

    params = {
        "model": {"key": "m", "path": str(folder / "model")},
        "activations": {"layers": [1, 3], "dtype": "float16"},
    }
    arguments = ["--params", json.dumps(params), "--rollouts", str(folder / "rollouts.parquet"), "--dataset", "mine"]
    output = folder / "0.safetensors"
    dump_activations.main([*arguments, "--shard", "0", "--batch-tokens", "64", "--output", str(output)])
    metadata = read_metadata(output)
    assert metadata["fingerprint"] == fingerprint(str(folder / "model"))
    assert {key: metadata[key] for key in ("model", "dataset", "shard", "layers", "d", "n_layers", "dtype")} == {
        "model": "m", "dataset": "mine", "shard": 0, "layers": [1, 3], "d": 32, "n_layers": 3, "dtype": "float16",
    }  # fmt: skip
    states = read_layer([output], 3, {"model": "m", "dataset": "mine", "dtype": "float16"})
    assert states.rows == [(i, s, len(r)) for i, s, r in graded.select("problem_id", "sample", "response_ids").rows()]


def test_a_response_without_a_problem_and_a_wrong_kind_of_answer(folder: Path) -> None:
    sample(folder, 0, 10)
    read_parquet(folder / "problems.parquet").tail(5).write_parquet(folder / "some.parquet")
    arguments = ["--params", GRADED, "--samples", str(folder / "samples-0.parquet")]
    with pytest.raises(UserError, match="problem mine-000000 is not in the data set"):
        grade_rollouts.main([*arguments, "--problems", str(folder / "some.parquet"), "--output", str(folder / "o")])
    problems = read_parquet(folder / "problems.parquet").with_columns(pl.lit("x").alias("gold"))
    problems.write_parquet(folder / "some.parquet")
    samples = read_parquet(folder / "samples-0.parquet").with_columns(pl.lit("stop").alias("finish_reason"))
    samples.write_parquet(folder / "samples-0.parquet")
    with pytest.raises(UserError, match="correct answer 'x' is not an integer"):
        grade_rollouts.main([*arguments, "--problems", str(folder / "some.parquet"), "--output", str(folder / "o")])
    assert not (folder / "o").exists()
