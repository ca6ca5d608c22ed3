"""Masked generation: which conditions there are, that responses pair with their rollouts, that a proof is demanded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import polars as pl
import pytest

from tests.unit.test_transformers_engine import requests
from tests.unit.tiny_models import tiny_model, tiny_tokenizer
from workflow_scripts.lib.config.sections import Interventions
from workflow_scripts.lib.engines.interface import Request, Sampling
from workflow_scripts.lib.engines.transformers_engine import TransformersEngine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.interventions import Intervention
from workflow_scripts.lib.models.proof import MaskCheck
from workflow_scripts.lib.neurons.conditions import Condition, conditions
from workflow_scripts.lib.neurons.masked_generation import build_requests, generate_masked, intervention

SETTINGS = {
    "selections": ["value", "random"],
    "share": 0.1,
    "mode": "mean",
    "dose_layers": [2],
    "dose_selections": ["value"],
    "dose_shares": [0.1, 0.5],
    "dose_factors": [2.0],
    "dose_factor_share": 0.5,
}
NEURONS = pl.DataFrame(
    [
        (1, "value", 0, 0.1, [3]),
        (1, "random", 0, 0.1, [5]),
        (1, "random", 1, 0.1, [6]),
        (2, "value", 0, 0.1, [7]),
        (2, "value", 0, 0.5, [7, 8]),
        (2, "random", 0, 0.1, [9]),
    ],
    schema=["layer", "selection", "draw", "share", "neurons"],
    orient="row",
)


def settings(**changes: Any) -> Interventions:
    return Interventions(SETTINGS | changes)


def test_conditions_of_the_tables() -> None:
    assert conditions(NEURONS, 1, settings()) == {
        Condition(1, "value", 0, 0.1, "mean", 0.0): [3],
        Condition(1, "random", 0, 0.1, "mean", 0.0): [5],
        Condition(1, "random", 1, 0.1, "mean", 0.0): [6],
    }


def test_conditions_of_the_dose_response_are_added_at_its_layers_and_none_occurs_twice() -> None:
    dose = {
        Condition(2, "value", 0, 0.1, "zero", 0.0): [7],
        Condition(2, "value", 0, 0.5, "zero", 0.0): [7, 8],
        Condition(2, "value", 0, 0.5, "scale", 2.0): [7, 8],
    }
    table = {Condition(2, "value", 0, 0.1, "mean", 0.0): [7], Condition(2, "random", 0, 0.1, "mean", 0.0): [9]}
    assert conditions(NEURONS, 2, settings()) == table | dose
    zero = {Condition(2, name, 0, 0.1, "zero", 0.0): [n] for name, n in (("value", 7), ("random", 9))}
    assert conditions(NEURONS, 2, settings(mode="zero")) == zero | dose


def test_a_selection_that_was_not_made_is_named() -> None:
    with pytest.raises(UserError, match=r"neurons: none for layer 1, value, share 0.2; delete the table"):
        conditions(NEURONS, 1, settings(share=0.2))


def test_requests_have_the_keys_of_their_rollouts() -> None:
    rows = [("b", 0, [1, 2]), ("b", 1, [1, 2]), ("a", 0, [4])]
    rollouts = pl.DataFrame(rows, schema=["problem_id", "sample", "prompt_ids"], orient="row")
    found, names = build_requests(rollouts, 9)
    assert found == [Request((1, 2), ("b/0", "b/1"), 9), Request((4,), ("a/0",), 9)]
    assert names == [[("b", 0), ("b", 1)], [("a", 0)]]


def test_means_are_those_of_the_neurons_in_their_order() -> None:
    what = intervention(Condition(1, "value", 0, 0.1, "mean", 0.0), [2, 0], [0.5, 1.5, 2.5])
    assert what == Intervention(1, (2, 0), "mean", 0.0, (2.5, 0.5))
    assert intervention(Condition(1, "value", 0, 0.1, "scale", 2.0), [2], None) == Intervention(1, (2,), "scale", 2.0)


class Broken(TransformersEngine):
    """An engine that reports what a broken mask would."""

    proof = MaskCheck()

    @contextmanager
    def intervened(self, what: Intervention) -> Iterator[MaskCheck]:
        yield self.proof


@pytest.mark.parametrize(
    "proof",
    [
        MaskCheck(),
        MaskCheck(10, 0, 0.0),
        MaskCheck(10, 9, 0.0),
        MaskCheck(0, 5, 0.0),
        MaskCheck(10, 10, 1e-9),
        MaskCheck(10, 10, float("nan")),
    ],
)
def test_a_proof_that_does_not_hold_ends_the_job(proof: MaskCheck) -> None:
    engine = Broken(tiny_model("qwen2"), tiny_tokenizer(), 8)
    engine.proof = proof
    with pytest.raises(UserError, match=r"layer 1: the mask was not applied at every position .* nothing is written"):
        generate_masked(engine, requests(), Intervention(1, (0,)), Sampling(0.0, 1.0, 5), 0)
    engine.proof = MaskCheck(10, 10, 0.0)
    found, _ = generate_masked(engine, requests(), Intervention(1, (0,)), Sampling(0.0, 1.0, 5), 0)
    assert [len(ones) for ones in found] == [len(request.keys) for request in requests()]


def test_a_factor_of_one_changes_nothing() -> None:
    engine = TransformersEngine(tiny_model("qwen2"), tiny_tokenizer(), 8)
    same, proof = generate_masked(engine, requests(), Intervention(2, (1, 2), "scale", 1.0), Sampling(1.0, 0.9, 9), 0)
    plain = dict(engine.generate(requests(), Sampling(1.0, 0.9, 9), 0))
    assert [plain[index] for index in range(len(same))] == same and proof.complete
