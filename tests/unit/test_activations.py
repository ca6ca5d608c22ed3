"""Hidden states equal transformers' own, whatever the batches; the reader refuses what belongs to something else."""

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.unit.tiny_models import PAPER_FAMILIES, VOCABULARY, tiny_model
from workflow_scripts.lib.engines.transformers_engine import pad
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.activation_files import read_layer, write_activations
from workflow_scripts.lib.models.load import decoder_blocks
from workflow_scripts.lib.models.states import Response, batches, dump, hooked
from workflow_scripts.lib.storage.tensors import write_safetensors

LAYERS = [0, 1, 2, 3]
FAMILIES = [*PAPER_FAMILIES, "mistral", "gpt2"]
METADATA = {"model": "m", "revision": None, "fingerprint": "f", "dataset": "d", "shard": 0, "dtype": "float32"}


def responses(n: int = 9, seed: int = 0) -> list[Response]:
    rng = random.Random(seed)

    def ids(lengths: list[int]) -> list[int]:
        return [rng.randrange(VOCABULARY) for _ in range(rng.choice(lengths))]

    return [Response(f"p{i}", i % 2, ids([1, 4, 11]), ids([0, 1, 7, 30])) for i in range(n)]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("batch_tokens", [1, 64, 10_000])
def test_states_equal_those_of_transformers(family: str, batch_tokens: int) -> None:
    model, wanted = tiny_model(family), responses()
    states = dump(model, wanted, LAYERS, torch.float32, batch_tokens)
    assert states.rows == [(r.problem_id, r.sample, len(r.response_ids)) for r in wanted]
    inner = getattr(model.base_model, "language_model", model.base_model)
    norm = inner.ln_f if family == "gpt2" else inner.norm
    for i, response in enumerate(wanted):
        ids = torch.tensor([[*response.prompt_ids, *response.response_ids]])
        own = model(ids, output_hidden_states=True).hidden_states
        begin, end = int(states.offsets[i]), int(states.offsets[i + 1])
        assert end - begin == len(response.response_ids) + 1
        exact: dict[str, Any] = {"rtol": 0.0, "atol": 0.0} if batch_tokens == 1 else {"rtol": 1e-4, "atol": 1e-4}
        for layer in LAYERS[:-1]:
            expected = own[layer][0, len(response.prompt_ids) - 1 :]
            torch.testing.assert_close(states.layers[layer][begin:end], expected, **exact)
        last = states.layers[3][begin:end]
        expected = own[3][0, len(response.prompt_ids) - 1 :]
        torch.testing.assert_close(norm(last), expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(last, expected, atol=1e-2), "the last layer is taken before the final norm"


def distance(states: torch.Tensor, expected: torch.Tensor) -> float:
    """How far a state is from what it should be, at most, in norms of the latter: rounding grows with the whole state.

    Recurrent blocks compute in chunks that padding on the left shifts, so that a small element next to large ones may
    differ by more than its own size suggests.
    """
    return float(((states - expected).norm(dim=-1) / expected.norm(dim=-1)).max())


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("family", PAPER_FAMILIES)
def test_states_are_the_same_on_either_side_of_padding(family: str, side: str) -> None:
    model, sequences = tiny_model(family), [[*r.prompt_ids, *r.response_ids] for r in responses()]
    ids, mask = pad(sequences, side, torch.device("cpu"))
    kept: dict[int, torch.Tensor] = {}
    with hooked(model, LAYERS, lambda layer, states: kept.update({layer: states.clone()})):
        positions = (mask.cumsum(-1) - 1).clamp_min(0)
        model.base_model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)
    for row, sequence in enumerate(sequences):
        own = model(torch.tensor([sequence]), output_hidden_states=True).hidden_states
        for layer in LAYERS[:-1]:  # transformers gives the last one behind the final norm
            found = kept[layer][row, mask[row].bool()]
            assert distance(found, own[layer][0]) < 1e-4
        inner = getattr(model.base_model, "language_model", model.base_model)
        assert distance(inner.norm(kept[3][row, mask[row].bool()]), own[3][0]) < 1e-4


def test_batches_hold_every_response_within_the_budget() -> None:
    wanted = responses(50)
    for budget in (1, 60, 500):
        made = list(batches(wanted, budget))
        assert sorted(i for batch in made for i in batch) == list(range(50))
        for batch in made:
            assert len(batch) == 1 or len(batch) * max(wanted[i].length for i in batch) <= budget


def test_hooks_go_even_when_the_pass_fails() -> None:
    model = tiny_model("qwen2")

    def fail(layer: int, states: torch.Tensor) -> None:
        raise RuntimeError(f"layer {layer}")

    with pytest.raises(RuntimeError, match="layer 2"), hooked(model, [2, 3], fail):
        model(torch.tensor([[1, 2]]))
    blocks = decoder_blocks(model)
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in blocks)
    with pytest.raises(UserError, match="4 is not a layer of this model; use 0 to 3"), hooked(model, [0, 4], fail):
        pass
    assert not any(block._forward_hooks or block._forward_pre_hooks for block in blocks)


def test_only_wanted_layers_and_progress() -> None:
    done: list[int] = []
    states = dump(tiny_model("qwen2"), responses(), [2], torch.bfloat16, 64, done.append)
    assert list(states.layers) == [2]
    assert states.layers[2].dtype == torch.bfloat16
    assert sum(done) == 9


def test_overflow_is_refused_with_advice() -> None:
    model = tiny_model("qwen2")
    model.model.embed_tokens.weight.mul_(1e6)
    with pytest.raises(UserError, match=r"activations\.dtype: layer 0 has values up to .*float16; set it to float32"):
        dump(model, responses(), [0], torch.float16, 64)
    model.model.embed_tokens.weight.fill_(torch.nan)
    with pytest.raises(UserError, match="not finite"):
        dump(model, responses(), [0], torch.float32, 64)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(UserError, match="problem a: its prompt has no tokens"):
        dump(tiny_model("qwen2"), [Response("a", 0, [], [1])], [1], torch.float32, 64)


def written(folder: Path, name: str, wanted: list[Response], **changes: Any) -> Path:
    states = dump(tiny_model("qwen2"), wanted, [0, 3], torch.float32, 64)
    write_activations(states, METADATA | changes, folder / name)
    return folder / name


def test_written_and_read_back_over_shards(tmp_path: Path) -> None:
    wanted = responses()
    whole = dump(tiny_model("qwen2"), wanted, [0, 3], torch.float32, 64)
    paths = [written(tmp_path, "0", wanted[:4]), written(tmp_path, "1", wanted[4:], shard=1)]
    read = read_layer(paths, 3, {"model": "m", "dataset": "d", "fingerprint": "f", "revision": None})
    assert read.rows == whole.rows
    assert torch.equal(read.offsets, whole.offsets)
    torch.testing.assert_close(read.layers[3], whole.layers[3], rtol=1e-5, atol=1e-5)
    assert list(read.layers) == [3]


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", "other"), ("fingerprint", "g"), ("dataset", "e"), ("dtype", "float16"), ("revision", "r")],
)
def test_what_belongs_to_something_else_is_refused(tmp_path: Path, key: str, value: str) -> None:
    good = written(tmp_path, "good", responses(2))
    other = written(tmp_path, "other", responses(2), **{key: value})
    with pytest.raises(UserError, match=f'other: {key} is "{value}", but .* is asked for'):
        read_layer([other], 3, {key: METADATA[key]})
    with pytest.raises(UserError, match=f'other: {key} is "{value}", but .* is asked for'):
        read_layer([good, other], 3)


def test_missing_layer_foreign_format_and_damage_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "good", responses(2))
    with pytest.raises(UserError, match=r"contains layers \[0, 3\], not 2; add it to activations\.layers"):
        read_layer([path], 2)
    write_safetensors({"x": torch.zeros(1)}, {"format": "probes"}, tmp_path / "foreign")
    with pytest.raises(UserError, match="not a file of activations"):
        read_layer([tmp_path / "foreign"], 3)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        read_layer([path], 3)
