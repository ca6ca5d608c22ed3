"""Trajectories: the right tokens of the right neurons, their signs, their text; in any order of shards."""

from pathlib import Path
from typing import Any

import byte_tokenizers
import numpy as np
import polars as pl
import pytest
import torch
import traced_runs as runs

from workflow_scripts import trace_neurons
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import read_layer
from workflow_scripts.lib.models.tokens import response_text, text_pieces
from workflow_scripts.lib.probes import features, perceptrons
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.trajectories.followed import choose_neurons
from workflow_scripts.lib.trajectories.traces import Traced, orient, paragraph_means, read_trace, surprising


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = runs.tiny_run(tmp_path_factory.mktemp("run"))
    trace_neurons.main(runs.trace_arguments(made))
    return made


@pytest.mark.parametrize(
    ("name", "normalize"), [("response", features.zscore_response), ("causal", features.zscore_causal)]
)
def test_activations_are_those_of_the_stored_states(folder: Path, name: str, normalize: Any) -> None:
    trace_neurons.main(runs.trace_arguments(folder, normalization=name))
    traced = read_trace(folder / "traced.parquet")
    trace_neurons.main(runs.trace_arguments(folder))
    stored = read_layer(runs.files(folder, "activations", "safetensors"), runs.LAYER)
    places = {row[0]: i for i, row in enumerate(stored.rows)}
    neurons = torch.tensor([one.neuron for one in traced.neurons])
    for row in traced.responses.iter_rows(named=True):
        start, end = stored.offsets[places[row["problem_id"]]], stored.offsets[places[row["problem_id"]] + 1]
        expected = normalize(stored.layers[runs.LAYER][start:end])[:, neurons].T.numpy()
        found = np.array(row["activations"]).reshape(len(neurons), -1)
        assert found.shape == expected.shape and np.allclose(found, expected, atol=1e-6)


def test_neurons_are_the_most_important_on_true_labels_and_others(folder: Path) -> None:
    traced = read_trace(folder / "traced.parquet")
    stack, _ = perceptrons.load(folder / "dopamine.safetensors")
    importance = perceptrons.importance(stack.of(layer=runs.LAYER, labels="true")).mean(0)
    expected = importance.argsort(descending=True)[:3].tolist()
    assert [(one.neuron, one.rank) for one in traced.neurons[:3]] == list(zip(expected, (1, 2, 3), strict=True))
    control = [one.neuron for one in traced.neurons[3:]]
    assert len(set(control)) == 3 and not set(control) & set(expected)
    assert {one.kind for one in traced.neurons[3:]} == {"random"}


def test_values_boundaries_and_text_are_told_and_an_empty_response_too(folder: Path) -> None:
    traced = read_trace(folder / "traced.parquet")
    values = pl.read_parquet(folder / "values.parquet")
    texts = dict(pl.read_parquet(folder / "rollouts/*.parquet").select("problem_id", "text").iter_rows())
    assert traced.responses["problem_id"].to_list() == sorted(texts)
    for row in traced.responses.iter_rows(named=True):
        mine = values.filter(pl.col("problem_id") == row["problem_id"])
        assert row["values"] == mine["value"].to_list() and row["boundaries"] == mine["offset"].to_list()
        assert row["deltas"] == mine["delta"].to_list()[1:] and row["kept"] == mine["kept"].to_list()[1:]
        assert "".join(row["pieces"]) == texts[row["problem_id"]]
    assert traced.responses["pieces"][21].to_list() == [] and traced.responses["deltas"][21].to_list() == []


def test_the_order_of_the_shards_changes_nothing(folder: Path) -> None:
    before = (folder / "traced.parquet").read_bytes()
    trace_neurons.main(runs.trace_arguments(folder, reverse=True))
    assert (folder / "traced.parquet").read_bytes() == before


def test_signs_are_those_of_training_problems_alone() -> None:
    traced = runs.planted()
    assert [one.sign for one in orient(traced)][:2] == [-1, 1]
    # Validation problems that say the contrary change nothing.
    turned = (
        pl.when(pl.col("split") == "validation").then(pl.col("activations").list.reverse()).otherwise("activations")
    )
    assert orient(
        Traced(**(vars(traced) | {"responses": traced.responses.with_columns(turned.alias("activations"))}))
    ) == (orient(traced))
    swapped = traced.responses.with_columns(split=pl.lit("train"), activations=pl.col("activations").list.reverse())
    assert [one.sign for one in orient(Traced(**(vars(traced) | {"responses": swapped})))][2:] == [1, -1]


def test_without_training_paragraphs_the_sign_is_plain_and_says_why() -> None:
    traced = runs.planted().of("validation")
    assert {(one.sign, one.training) for one in orient(traced)} == {(1, None)}
    assert all("no sign from training paragraphs" in (one.reason or "") for one in orient(traced))


def test_paragraph_means_are_those_of_the_tokens() -> None:
    traced = runs.planted(2)
    found = paragraph_means(traced)
    first = np.array(traced.responses["activations"][0].to_list())
    assert np.allclose(found.means[:, :4], first.reshape(4, 4, 3).mean(2))
    assert found.problem_ids == ["p-000"] * 4 + ["p-001"] * 4


@pytest.mark.parametrize("split_words", [True, False])
def test_pieces_joined_are_the_text_even_where_a_character_takes_several_tokens(split_words: bool) -> None:
    tokenizer = byte_tokenizers.byte_level(split_words)
    text = "naïve 数学 🙂\n\nx"
    ids = tokenizer.encode(text)
    pieces = text_pieces(ids, tokenizer)
    assert len(pieces) == len(ids) and "".join(pieces) == text
    cut = ids[: len(tokenizer.encode("naïve ")) + 1]
    assert "".join(text_pieces(cut, tokenizer)) == response_text(cut, tokenizer)
    assert text_pieces([], tokenizer) == []


def surprise_rows() -> Traced:
    zeros = np.zeros((4, 9))
    rows = [
        runs.row_of("a", "validation", [0.1, 0.1, 0.6], zeros, 0.2),
        runs.row_of("b", "validation", [0.1, -0.1, 0.8], zeros, 0.2),  # as low, and a larger |delta|
        runs.row_of("c", "train", [0.1, 0.1, 0.7], zeros, 0.1),  # lower, but in training
        runs.row_of("d", "validation", [0.4, 0.5], np.zeros((4, 6)), 0.1),  # lower, but of two paragraphs
        runs.row_of("e", "validation", [-0.1, -0.1, -0.4], zeros, 0.6),
        runs.row_of("f", "validation", [-0.3, -0.3, -0.1], zeros, 0.7),
    ]
    return Traced("grpo", "ledger", 3, "response", runs.NEURONS, pl.DataFrame(rows[::-1]))


def test_surprises_are_chosen_by_the_rule() -> None:
    positive, negative = (surprising(surprise_rows(), kind) for kind in ("positive", "negative"))
    assert positive is not None and positive.row["problem_id"] == "b"
    assert negative is not None and negative.row["problem_id"] == "f"
    assert surprising(surprise_rows().of("train"), "positive") is None


def test_more_neurons_than_there_are_is_refused() -> None:
    assert len(choose_neurons(np.arange(5.0), 3, 1, 0)) == 5  # two are left for the control
    with pytest.raises(UserError, match=r"trajectories\.n_neurons: 6 of layer 1's 5"):
        choose_neurons(np.arange(5.0), 6, 1, 0)


def test_what_does_not_belong_together_is_refused(folder: Path, tmp_path: Path) -> None:
    arguments = runs.trace_arguments(folder)
    other = pl.read_parquet(runs.files(folder, "rollouts", "parquet")).with_columns(pl.col("response_ids").list.head(5))
    write_parquet(other, tmp_path / "0.parquet")
    place = arguments.index("--rollouts")
    with pytest.raises(UserError, match="problem p-000, sample 0 is missing or another response"):
        trace_neurons.main([*arguments[: place + 1], str(tmp_path / "0.parquet"), *arguments[place + 3 :]])
    wrong = [argument.replace("dopamine.safetensors", "value.safetensors") for argument in arguments]
    with pytest.raises(UserError, match=r"kind is \"value\""):
        trace_neurons.main(wrong)
    with pytest.raises(UserError, match="not a table in format trajectories-1"):
        read_trace(folder / "values.parquet")
