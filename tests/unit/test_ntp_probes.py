"""Probes of next tokens learn what states tell and no more, find the neurons that tell it, and are trained alone."""

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tests.unit.tiny_models import PAPER_FAMILIES, VOCABULARY, save_tiny_model, tiny_model
from workflow_scripts import train_ntp_probes, train_value_probes
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import write_activations
from workflow_scripts.lib.models.load import ModelConfig, vocabulary_of
from workflow_scripts.lib.models.states import States
from workflow_scripts.lib.probes import next_token
from workflow_scripts.lib.probes.next_token import (
    NextTokens,
    NtpProbe,
    cross_entropy,
    inputs_of,
    unigram_cross_entropy,
)
from workflow_scripts.lib.probes.perceptrons import input_importance, load
from workflow_scripts.lib.probes.training import Training, batches
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.runtime.reuse import kept_path
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.storage.tensors import read_safetensors

D, N, KINDS, CARRIERS = 16, 100, 4, [3, 9]
PLANTED, NOISE = 2, 5
"""Layers: in one, two coordinates tell the next token; in the other, nothing does."""
SECTION: dict[str, Any] = {"input_scaling": "zscore", "hidden": 24, "epochs": 12, "batch_size": 8, "seed": 0}
SECTION |= {"learning_rate": 0.01, "weight_decay": 0.01}
TRAINING = Training(hidden=6, epochs=2, batch_size=3, learning_rate=1e-2, weight_decay=0.1, input_scaling="zscore")
IDENTITY: dict[str, Any] = {"model": "m", "revision": None, "fingerprint": "f", "dataset": "q"}
CPU = torch.device("cpu")


@dataclass
class Study:
    """Files of a synthetic run: state s_t of the planted layer carries token t + 1 in two coordinates."""

    folder: Path

    def write(self, change_validation: bool = False, shard_size: int = 40) -> None:
        ids = [f"p-{i:03d}" for i in range(N)]
        split = ["validation" if i % 5 == 0 else "train" for i in range(N)]
        write_parquet(pl.DataFrame({"problem_id": ids, "split": split}), self.folder / "problems.parquet")
        rng = np.random.default_rng(0)
        tokens = [rng.integers(0, KINDS, rng.integers(0, 12)) for _ in ids]
        states = [rng.normal(size=(2, len(own) + 1, D)) for own in tokens]
        for own, (planted, _), part in zip(tokens, states, split, strict=True):
            planted[:-1, CARRIERS[0]] += 4.0 * (own % 2) - 2
            planted[:-1, CARRIERS[1]] += 4.0 * (own // 2) - 2
            planted *= np.geomspace(0.1, 30, D)[::-1]
            if change_validation and part == "validation":
                planted *= -1
        for shard, first in enumerate(range(0, N, shard_size)):
            members = range(first, min(first + shard_size, N))[::-1]
            rows = {"problem_id": [ids[i] for i in members], "sample": 0, "reward": [i % 2 for i in members]}
            rows |= {"response_ids": [(20 + tokens[i]).tolist() for i in members]}
            types = {"response_ids": pl.List(pl.Int32)}
            write_parquet(pl.DataFrame(rows, schema_overrides=types), self.folder / f"rollouts-{shard}.parquet")
            offsets = torch.tensor([0, *np.cumsum([len(tokens[i]) + 1 for i in members])])
            joined = {
                layer: torch.from_numpy(np.concatenate([states[i][place] for i in members])).half()
                for place, layer in enumerate([PLANTED, NOISE])
            }
            write_activations(
                States([(ids[i], 0, len(tokens[i])) for i in members], offsets, joined),
                IDENTITY | {"dtype": "float16", "shard": shard, "n_layers": 6},
                self.folder / f"activations-{shard}.safetensors",
            )

    def inputs(self) -> list[str]:
        return [
            *("--problems", str(self.folder / "problems.parquet")),
            *("--rollouts", *sorted(map(str, self.folder.glob("rollouts-*")))),
            *("--activations", *sorted(map(str, self.folder.glob("activations-*")))),
        ]

    def train(self, layers: list[int], model: Path, **changes: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        entry = {"key": "m", "path": str(model), "revision": None, "trust_remote_code": False}
        params = {"model": entry, "interventions": {"layers": layers}, "ntp_probes": SECTION | changes}
        output = self.folder / "ntp.safetensors"
        kept_path(output).unlink(missing_ok=True)  # every call trains
        train_ntp_probes.main(["--params", json.dumps(params), *self.inputs(), "--output", str(output)])
        return read_safetensors(output)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = Study(tmp_path_factory.mktemp("study"))
    made.write()
    return made


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def trained(study: Study, model: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    return study.train([PLANTED, NOISE], model)


def test_the_file_says_what_it_holds(trained: tuple[dict[str, torch.Tensor], dict[str, Any]]) -> None:
    tensors, metadata = trained
    shapes = {"w1": (24, D), "b1": (24,), "w2": (VOCABULARY, 24), "b2": (VOCABULARY,), "mean": (D,), "scale": (D,)}
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        f"layer_{layer}.{name}": shape for layer in (PLANTED, NOISE) for name, shape in shapes.items()
    }
    assert all(tensor.dtype == torch.float32 for tensor in tensors.values())
    rng = np.random.default_rng(0)
    lengths = [len(rng.integers(0, KINDS, rng.integers(0, 12))) for _ in range(N)]
    assert 0 in lengths
    assert metadata == IDENTITY | {
        "losses": metadata["losses"],
        "origins": metadata["origins"],
        "kind": "ntp",
        "config": SECTION,
        "layers": [PLANTED, NOISE],
        "vocabulary": VOCABULARY,
        "n_training": sum(length for i, length in enumerate(lengths) if i % 5),
        "n_validation": sum(lengths[::5]),
    }
    assert [entry["layer"] for entry in metadata["losses"]] == [PLANTED, NOISE]
    assert len(set(metadata["origins"])) == 2


def test_planted_tokens_are_learned_and_noise_is_not(trained: tuple[dict[str, torch.Tensor], dict[str, Any]]) -> None:
    planted, noise = trained[1]["losses"]
    unigram = planted["unigram_cross_entropy"]
    assert noise["unigram_cross_entropy"] == unigram
    assert unigram == pytest.approx(math.log(KINDS), abs=0.03)
    assert planted["cross_entropy"] < 0.5 * unigram
    assert noise["cross_entropy"] > unigram


def test_the_most_important_neurons_are_the_planted_ones(
    study: Study, model: Path, trained: tuple[dict[str, torch.Tensor], dict[str, Any]]
) -> None:
    ranked = input_importance(trained[0][f"layer_{PLANTED}.w1"]).argsort(descending=True)
    assert set(ranked[:2].tolist()) == set(CARRIERS)
    raw = study.train([PLANTED], model, input_scaling="none")[0]
    assert not raw[f"layer_{PLANTED}.mean"].any() and (raw[f"layer_{PLANTED}.scale"] == 1).all()
    scale = trained[0][f"layer_{PLANTED}.scale"]
    assert float(scale.max() / scale.min()) > 50  # that of the states, which weights alone would mirror


def test_importance_is_the_sum_over_hidden_units() -> None:
    assert input_importance(torch.tensor([[1.0, -2.0, 0.0], [-3.0, 0.5, 0.0]])).tolist() == [4.0, 2.5, 0.0]


def test_a_probe_depends_on_its_own_layer_alone(
    study: Study, model: Path, trained: tuple[dict[str, torch.Tensor], dict[str, Any]]
) -> None:
    both = trained[0]
    for layer in (PLANTED, NOISE):
        alone = study.train([layer], model)[0]
        assert alone and all(torch.equal(tensor, both[name]) for name, tensor in alone.items())
    other = study.train([NOISE], model, seed=1)[0]
    assert not torch.allclose(other[f"layer_{NOISE}.w1"], both[f"layer_{NOISE}.w1"], atol=1e-3)


def test_shards_and_validation_states_change_no_probe(
    model: Path, trained: tuple[dict[str, torch.Tensor], dict[str, Any]], tmp_path: Path
) -> None:
    other = Study(tmp_path)
    other.write(change_validation=True, shard_size=33)
    tensors, metadata = other.train([PLANTED, NOISE], model)
    for name, tensor in trained[0].items():
        torch.testing.assert_close(tensors[name], tensor, rtol=1e-4, atol=1e-5)
    assert metadata["losses"][0]["cross_entropy"] > 2 * trained[1]["losses"][0]["cross_entropy"]


def small(n: int = 8) -> tuple[torch.Tensor, NextTokens]:
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 6, n))])
    states = torch.from_numpy(rng.normal(3, [1, 2, 3, 50, 0.1], (offsets[-1], 5))).half()
    return states, NextTokens(np.arange(n), offsets, torch.from_numpy(rng.integers(0, 7, offsets[-1])))


def quiet() -> Progress:
    return Progress(10**9, "steps", "test", every=1e9)


def test_training_equals_plain_training_in_torch() -> None:
    states, wanted = small()
    found = next_token.train(2, states, wanted, 7, 4, TRAINING, quiet())
    mean, scale = states.double().mean(0).float(), states.double().std(0, correction=0).float()
    first = next_token.initial_probe(4, 6, 7, mean, scale)
    module = torch.nn.Sequential(torch.nn.Linear(5, 6), torch.nn.ReLU(), torch.nn.Linear(6, 7))
    for parameter, tensor in zip(module.parameters(), (first.w1, first.b1, first.w2, first.b2), strict=True):
        parameter.data.copy_(tensor)
    optimiser = torch.optim.AdamW(module.parameters(), lr=1e-2, weight_decay=0.1)
    for rows, _, _ in batches(wanted.offsets, 4, 2, 3):
        optimiser.zero_grad()
        inputs = (states[rows].float() - mean) / scale
        torch.nn.functional.cross_entropy(module(inputs), wanted.tokens[rows]).backward()
        optimiser.step()
    for parameter, name in zip(module.parameters(), ("w1", "b1", "w2", "b2"), strict=True):
        torch.testing.assert_close(getattr(found, name), parameter.data, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(getattr(found, name), getattr(first, name), atol=1e-3)
    logits = module((states.float() - mean) / scale)
    expected = torch.nn.functional.cross_entropy(logits, wanted.tokens).detach()
    assert cross_entropy(found, states, wanted.tokens) == pytest.approx(float(expected), abs=1e-5)


def test_slices_of_a_batch_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    states, wanted = small()
    whole = next_token.train(2, states, wanted, 7, 4, TRAINING, quiet())
    loss = cross_entropy(whole, states, wanted.tokens)
    monkeypatch.setattr(next_token, "LOGIT_BYTES", {"cpu": 2 * 4 * 7, "cuda": 2 * 4 * 7})
    assert [s.stop - s.start for s in next_token.slices(5, 7, CPU)] == [2, 2, 1]
    sliced = next_token.train(2, states, wanted, 7, 4, TRAINING, quiet())
    for field in fields(NtpProbe):
        torch.testing.assert_close(getattr(sliced, field.name), getattr(whole, field.name), rtol=1e-4, atol=1e-6)
    assert cross_entropy(whole, states, wanted.tokens) == pytest.approx(loss)
    monkeypatch.setattr(next_token, "LOGIT_BYTES", {"cpu": 1, "cuda": 1})
    assert len(list(next_token.slices(5, 7, CPU))) == 5


def test_first_weights_are_spread_over_the_interval_of_torch() -> None:
    probe = next_token.initial_probe(0, 64, 300, torch.zeros(16), torch.ones(16))
    for tensor, inputs in ((probe.w1, 16), (probe.w2, 64)):
        bound = inputs**-0.5
        assert 0.98 * bound < float(tensor.max()) < bound and -bound <= float(tensor.min()) < -0.98 * bound
        assert abs(float(tensor.mean())) < 0.1 * bound
    assert not torch.equal(probe.w1, next_token.initial_probe(1, 64, 300, torch.zeros(16), torch.ones(16)).w1)


def test_states_with_a_next_token_are_all_but_the_last() -> None:
    states = torch.arange(9.0)[:, None]
    offsets = np.array([0, 3, 4, 9])  # responses of 2, 0 and 4 tokens
    wanted = NextTokens(np.array([2, 0]), np.array([0, 4, 6]), torch.zeros(6, dtype=torch.long))
    assert inputs_of(states, offsets, wanted)[:, 0].tolist() == [4, 5, 6, 7, 0, 1]
    nothing = NextTokens(np.array([], dtype=np.int64), np.array([0]), torch.zeros(0, dtype=torch.long))
    assert inputs_of(states, offsets, nothing).shape == (0, 1)


def test_unigram_by_hand() -> None:
    training, validation = torch.tensor([0, 0, 2]), torch.tensor([0, 1])
    assert unigram_cross_entropy(training, validation, 3) == pytest.approx(-(math.log(3 / 6) + math.log(1 / 6)) / 2)
    seen = unigram_cross_entropy(training, torch.tensor([0, 2]), 3)  # nothing unseen: the less is added, the better
    assert seen == pytest.approx(-(math.log(2.001 / 3.003) + math.log(1.001 / 3.003)) / 2)
    nothing = torch.zeros(0, dtype=torch.long)
    assert unigram_cross_entropy(training, nothing, 3) is None
    mean = torch.zeros(2)
    assert cross_entropy(next_token.initial_probe(0, 2, 3, mean, mean + 1), torch.zeros(0, 2), nothing) is None


@pytest.mark.parametrize("family", [*PAPER_FAMILIES, "gpt2"])
def test_the_vocabulary_is_read_from_the_configuration(family: str, tmp_path: Path) -> None:
    tiny_model(family).config.save_pretrained(tmp_path)
    assert vocabulary_of(ModelConfig("m", str(tmp_path))) == VOCABULARY


def test_a_model_without_configuration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="size of the vocabulary cannot be read"):
        vocabulary_of(ModelConfig("m", str(tmp_path)))


def change_rollouts(folder: Path, tokens: pl.Expr) -> None:
    path = folder / "rollouts-0.parquet"
    write_parquet(pl.read_parquet(path).with_columns(response_ids=tokens), path)


def test_tokens_that_do_not_fit_are_refused(model: Path, tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.write()
    change_rollouts(tmp_path, pl.col("response_ids").list.concat([pl.lit([1], dtype=pl.List(pl.Int32))]))
    with pytest.raises(UserError, match=r"states of \d+ tokens are stored, not of"):
        study.train([PLANTED], model)
    study.write()
    change_rollouts(tmp_path, pl.col("response_ids").list.eval(pl.element() + 190))
    with pytest.raises(UserError, match="but the model's vocabulary ends at 199"):
        study.train([PLANTED], model)
    with pytest.raises(UserError, match=r"contains layers \[2, 5\], not 4; add it to activations.layers"):
        study.train([4], model)


def test_a_training_part_without_tokens_is_refused(model: Path, tmp_path: Path) -> None:
    study = Study(tmp_path)
    study.write()
    problems = pl.read_parquet(tmp_path / "problems.parquet")
    write_parquet(problems.with_columns(split=pl.lit("validation")), tmp_path / "problems.parquet")
    with pytest.raises(UserError, match="no response of the training part has a token"):
        study.train([PLANTED], model)


VALUE: dict[str, Any] = {"hidden": 8, "epochs": 3, "batch_size": 8, "learning_rate": 0.01, "weight_decay": 0.01}
VALUE |= {"seeds": [0, 1], "input_scaling": "zscore", "td_gradient": "semi", "td_lambda": 0.9, "gamma": 0.99999}


def train_value(study: Study, output: str, section: dict[str, Any], *more: str) -> Path:
    path = study.folder / output
    params = json.dumps({"value_probes": section})
    train_value_probes.main(["--params", params, *study.inputs(), *more, "--output", str(path)])
    return path


def test_final_probes_are_value_probes_of_another_target(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = VALUE | {"target": "final", "shuffled_seeds": [0]}
    expected, plain = load(train_value(study, "all.safetensors", configured), kind="value")
    assert plain["config"] == configured
    expected = expected.of(layer=NOISE, labels="true")
    read: list[str] = []
    from workflow_scripts.lib.models import activation_files

    def spy(path: Any, names: list[str] | None = None) -> Any:
        read.extend(names or [])
        return read_safetensors(path, names)

    monkeypatch.setattr(activation_files, "read_safetensors", spy)
    options = ["--target", "final", "--true-labels-only", "--layers", str(NOISE)]
    found, metadata = load(train_value(study, "final.safetensors", VALUE, *options), kind="value_final")
    assert f"layer_{NOISE}" in read and f"layer_{PLANTED}" not in read
    assert metadata["config"] == VALUE | {"target": "final", "shuffled_seeds": []}
    assert found.specs == expected.specs
    for name in ("w1", "b1", "w2", "b2", "mean", "scale"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-6)
    lambda_target, _ = load(train_value(study, "td.safetensors", configured | {"target": "td_lambda"}))
    assert not torch.allclose(lambda_target.of(layer=NOISE, labels="true").w1, found.w1, atol=1e-3)
    with pytest.raises(UserError, match=r"contains layers \[2, 5\], not 3"):
        train_value(study, "none.safetensors", VALUE, "--target", "final", "--true-labels-only", "--layers", "3")
