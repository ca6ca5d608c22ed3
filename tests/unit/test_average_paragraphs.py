"""Features of paragraphs: the right tokens of the right response, in any order of files; mismatches refused."""

import json

import polars as pl
import pytest
import torch

from workflow_scripts import average_paragraphs
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import write_activations
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.probes import features
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.storage.tensors import decode_rows, read_safetensors

LAYERS = [0, 2]
BOUNDARIES = {("a", 0): [0, 2, 5, 6], ("a", 1): [0, 3], ("b", 0): [0], ("c", 0): [0, 1, 4]}
NOT_VALUED = ("d", 0)
METADATA = {"model": "tiny", "revision": None, "fingerprint": "f", "dataset": "sums", "dtype": "float32", "n_layers": 2}


def layers_of(problem_id: str, sample: int, n_tokens: int) -> dict[int, torch.Tensor]:
    generator = torch.Generator().manual_seed(ord(problem_id) * 10 + sample)
    return {layer: torch.randn(n_tokens + 1, 4, generator=generator) * 3 + layer for layer in LAYERS}


@pytest.fixture
def files(tmp_path):
    """Two shards of activations, the second with a response that has no values; values, paragraphs, problems."""
    shards = [[("a", 0, 6), ("a", 1, 3), ("b", 0, 0)], [("c", 0, 4), (*NOT_VALUED, 2)]]
    for number, rows in enumerate(shards):
        counts = torch.tensor([0] + [n + 1 for *_, n in rows]).cumsum(0)
        layers = {layer: torch.cat([layers_of(*row)[layer] for row in rows]) for layer in LAYERS}
        write_activations(
            States(rows, counts, layers), METADATA | {"shard": number}, tmp_path / f"{number}.safetensors"
        )
    values, paragraphs = [], []
    for (name, sample), several in BOUNDARIES.items():
        for k, offset in enumerate(several):
            delta = None if k == 0 else k / 10 + sample
            values.append((name, sample, k, offset, delta, delta, delta, None if delta is None else delta > 0.15))
            if k:
                paragraphs.append((name, sample, k, several[k - 1], offset))
    names = ["problem_id", "sample", "boundary", "offset", "delta", "delta_half_a", "delta_half_b", "kept"]
    write_parquet(pl.DataFrame(values, schema=names, orient="row"), tmp_path / "values")
    names = ["problem_id", "sample", "paragraph", "start", "end"]
    write_parquet(pl.DataFrame(paragraphs, schema=names, orient="row"), tmp_path / "paragraphs")
    split = ["validation", "train", "train", "validation"]
    write_parquet(pl.DataFrame({"problem_id": ["a", "b", "c", "d"], "split": split}), tmp_path / "problems")
    return tmp_path


def run(files, name="response", shards=(0, 1)):
    flags = ["--params", json.dumps({"dopamine_probes": {"normalization": name}}), "--values", str(files / "values")]
    flags += ["--activations", *(str(files / f"{shard}.safetensors") for shard in shards)]
    flags += ["--paragraphs", str(files / "paragraphs"), "--problems", str(files / "problems")]
    average_paragraphs.main([*flags, "--output", str(files / "features.safetensors")])
    return read_safetensors(files / "features.safetensors")


def by_hand(layer, normalize):
    parts = []
    for (name, sample), several in BOUNDARIES.items():
        if len(several) > 1:
            tokens = normalize(layers_of(name, sample, several[-1])[layer])
            parts.append(features.paragraph_means(tokens, several))
    return torch.cat(parts)


@pytest.mark.parametrize(
    ("name", "normalize"), [("response", features.zscore_response), ("causal", features.zscore_causal)]
)
def test_features_are_those_computed_by_hand(files, name, normalize):
    tensors, metadata = run(files, name)
    for layer in LAYERS:
        assert torch.equal(tensors[f"layer_{layer}"], by_hand(layer, normalize))
    assert tensors["layer_0"].dtype == torch.float32
    assert decode_rows(tensors["rows"]) == [
        ["a", 0, 1],
        ["a", 0, 2],
        ["a", 0, 3],
        ["a", 1, 1],
        ["c", 0, 1],
        ["c", 0, 2],
    ]
    torch.testing.assert_close(tensors["delta"], torch.tensor([0.1, 0.2, 0.3, 1.1, 0.1, 0.2]))
    assert tensors["kept"].tolist() == [0, 1, 1, 1, 0, 1]
    identity = {key: metadata[key] for key in ("model", "revision", "fingerprint", "dataset", "layers", "d")}
    assert identity == {
        "model": "tiny",
        "revision": None,
        "fingerprint": "f",
        "dataset": "sums",
        "layers": LAYERS,
        "d": 4,
    }
    assert metadata["normalization"] == name and metadata["dtype"] == "float32" and "shard" not in metadata


def test_calibration_uses_the_training_responses_only(files):
    tensors, _ = run(files, "calibration")
    for layer in LAYERS:
        training = [layers_of("b", 0, 0)[layer], layers_of("c", 0, 4)[layer]]
        mean, deviation = features.moments(training)
        expected = by_hand(layer, lambda h: features.zscore_calibrated(h, mean, deviation))  # noqa: B023
        torch.testing.assert_close(tensors[f"layer_{layer}"], expected)


def test_the_order_of_the_shards_changes_nothing(files):
    first, _ = run(files)
    second, _ = run(files, shards=(1, 0))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_no_paragraphs_give_an_empty_file(files):
    for name in ("values", "paragraphs"):
        write_parquet(pl.read_parquet(files / name).clear(), files / name)
    tensors, _ = run(files)
    assert tensors["layer_2"].shape == (0, 4) and tensors["delta"].shape == (0,) and decode_rows(tensors["rows"]) == []


def test_states_of_another_response_are_refused(files):
    with pytest.raises(UserError, match="states of problem c, sample 0 are missing"):
        run(files, shards=(0,))
    values = pl.read_parquet(files / "values").with_columns(
        offset=pl.when(pl.col("offset") == 6).then(7).otherwise("offset")
    )
    write_parquet(values, files / "values")
    with pytest.raises(UserError, match="problem a, sample 0 are not those of the values table"):
        run(files)
    paragraphs = pl.read_parquet(files / "paragraphs").with_columns(
        end=pl.when(pl.col("end") == 6).then(7).otherwise("end")
    )
    write_parquet(paragraphs, files / "paragraphs")
    with pytest.raises(UserError, match="states of problem a, sample 0 are missing or of another response"):
        run(files)


def test_settings_that_cannot_be_are_refused(files):
    with pytest.raises(UserError, match="'future' is none of"):
        run(files, "future")
    problems = pl.read_parquet(files / "problems").with_columns(split=pl.lit("validation"))
    write_parquet(problems, files / "problems")
    with pytest.raises(UserError, match="calibration needs training responses"):
        run(files, "calibration")
