"""Changed neurons have the wanted value in every layer below, for every family, at every position, and it is proven."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.unit.test_transformers_engine import requests, run
from tests.unit.tiny_models import PAPER_FAMILIES, tiny_model
from workflow_scripts.lib.engines.interface import Sampling
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.interventions import Intervention, intervened
from workflow_scripts.lib.models.load import decoder_blocks
from workflow_scripts.lib.models.states import Response, dump, hooked

NEURONS = (0, 5, 31)
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=30)


def states_of(model: Any, ids: torch.Tensor, layer: int) -> torch.Tensor:
    kept: dict[int, torch.Tensor] = {}
    with hooked(model, [layer], lambda where, states: kept.update({where: states.clone()})):
        model(input_ids=ids)
    return kept[layer]


@pytest.mark.parametrize("family", [*PAPER_FAMILIES, "gpt2"])
@pytest.mark.parametrize("layer", [1, 2, 3])
def test_zero_scale_and_mean(family: str, layer: int) -> None:
    model, ids = tiny_model(family), torch.randint(20, 180, (3, 17), generator=torch.Generator().manual_seed(1))
    plain = states_of(model, ids, layer)
    wanted: list[tuple[Intervention, Callable[[torch.Tensor], torch.Tensor]]] = [
        (Intervention(layer, NEURONS), torch.zeros_like),
        (Intervention(layer, NEURONS, "scale", factor=0.5), lambda states: states * 0.5),
        (
            Intervention(layer, NEURONS, "mean", means=(1.0, -2.0, 0.5)),
            lambda s: torch.tensor([1.0, -2.0, 0.5]).expand_as(s),
        ),
    ]
    for what, expected in wanted:
        with intervened(model, what) as proof:
            found = states_of(model, ids, layer)
        assert torch.equal(found[..., list(NEURONS)], expected(plain[..., list(NEURONS)]))
        others = [i for i in range(32) if i not in NEURONS]
        assert torch.equal(found[..., others], plain[..., others])
        assert proof.complete and proof.processed == ids.numel()
    assert torch.equal(states_of(model, ids, layer), plain)


@pytest.mark.parametrize("family", PAPER_FAMILIES)
def test_later_layers_and_generation_feel_it_whatever_the_batch(family: str) -> None:
    model, wanted = tiny_model(family), requests()
    plain = run(model, wanted, 64, GREEDY)
    what = Intervention(1, tuple(range(8)))
    with intervened(model, what) as proof:
        together = run(model, wanted, 64, GREEDY)
    assert proof.complete
    with intervened(model, what) as proof:
        alone = run(model, wanted, 1, GREEDY)
    assert proof.complete
    assert {key: one.token_ids for key, one in together.items()} == {key: one.token_ids for key, one in alone.items()}
    assert any(together[key].token_ids != plain[key].token_ids for key in plain)
    response = [Response("p", 0, [20, 21, 22], [23, 24])]
    with intervened(model, what):
        changed = dump(model, response, [1, 2, 3], torch.float32, 64).layers
    assert not changed[1][:, :8].any() and changed[2][:, :8].any()


def test_an_empty_set_changes_nothing() -> None:
    model, wanted = tiny_model("qwen2"), requests()
    with intervened(model, Intervention(2, ())) as proof:
        assert run(model, wanted, 64, GREEDY) == run(model, wanted, 64, GREEDY)
    assert proof.complete


def test_what_did_not_run_is_not_proven() -> None:
    with intervened(tiny_model("qwen2"), Intervention(1, (0,))) as proof:
        pass
    assert not proof.complete


def test_hooks_go_even_when_the_pass_fails() -> None:
    model = tiny_model("qwen2")
    with pytest.raises(RuntimeError, match="stop"), intervened(model, Intervention(1, (0,))):
        raise RuntimeError("stop")
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in decoder_blocks(model))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        (Intervention(0, (1,)), "layer 0 cannot be changed; the model's layers are 1 to 3"),
        (Intervention(4, (1,)), "layer 4 cannot be changed"),
        (Intervention(1, (1, 32)), "neuron 32 is not one of layer 1; use 0 to 31"),
        (Intervention(1, (1, 2), "mean", means=(0.5,)), "1 means for 2 neurons"),
    ],
)
def test_what_cannot_be_done_is_refused(what: Intervention, message: str) -> None:
    with pytest.raises(UserError, match=message), intervened(tiny_model("qwen2"), what):
        pass
