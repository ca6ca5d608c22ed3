"""Measures of neurons equal the plain computation, response by response, for every family and whatever the batches."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from torch import nn
from transformers import MixtralConfig, MixtralForCausalLM

from tests.unit.test_activations import responses
from tests.unit.tiny_models import LAYERS as SHAPE
from tests.unit.tiny_models import PAPER_FAMILIES, VOCABULARY, save_tiny_model, tiny_model
from workflow_scripts import measure_neurons
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import decoder_blocks, fingerprint
from workflow_scripts.lib.models.states import Response, dump
from workflow_scripts.lib.neurons import measures
from workflow_scripts.lib.neurons.measures import down_projection, find_projections, measure
from workflow_scripts.lib.storage.tables import write_parquet
from workflow_scripts.lib.storage.tensors import read_safetensors

FAMILIES = [*PAPER_FAMILIES, "olmo2", "gpt2"]
LAYERS = [1, 2, 3]
NAMES = ["magnitude", "wanda", "rms", "mean", "first"]


def measured(model: Any, wanted: list[Response], layers: list[int] = LAYERS, tokens: int = 64) -> dict[str, Any]:
    modules = {layer: module for layer, (_, module) in find_projections(model, layers).items()}
    return measure(model, wanted, layers, tokens, modules)


def plain(family: str, model: Any, wanted: list[Response], layer: int) -> dict[str, torch.Tensor]:
    """One response at a time, without padding; states from transformers and a hook on the module known by its name."""
    block: Any = decoder_blocks(model)[layer - 1]
    down = block.mlp.c_proj if family == "gpt2" else block.mlp.down_proj
    inputs, everywhere, states, first = [], [], [], []
    handle = down.register_forward_hook(lambda _module, args, _output: inputs.append(args[0][0].double()))
    for one in wanted:
        ids = torch.tensor([[*one.prompt_ids, *one.response_ids]])
        own = model(ids, output_hidden_states=True).hidden_states[layer][0].double()
        if (
            layer == 3
        ):  # transformers gives the last one behind the final norm; s_0..s_T of a prompt of one token are all
            whole = Response("", 0, ids[0, :1].tolist(), ids[0, 1:].tolist())
            own = dump(model, [whole], [3], torch.float32, 1).layers[3].double()
            inputs.pop()  # of the second pass
        everywhere.append(own)
        states.append(own[len(one.prompt_ids) - 1 :])
        first.append(own[0].abs())
    handle.remove()
    weight = (down.weight.T if family == "gpt2" else down.weight).double().abs()
    x = torch.cat(inputs)
    assert len(x) == sum(one.length for one in wanted)
    return {
        "magnitude": torch.stack([row.sum() for row in weight]),
        "wanda": torch.stack([(row * x.norm(dim=0)).sum() for row in weight]),
        "rms": torch.cat(states).square().mean(0).sqrt(),
        "mean": torch.cat(everywhere).mean(0),
        "first": torch.stack(first).mean(0),
    }


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tokens", [1, 64, 10_000])
def test_measures_equal_the_plain_computation(family: str, tokens: int) -> None:
    model, wanted = tiny_model(family), responses()
    found = measured(model, wanted, tokens=tokens)
    assert set(found) == {f"layer_{layer}.{name}" for layer in LAYERS for name in NAMES}
    for layer in LAYERS:
        for name, expected in plain(family, model, wanted, layer).items():
            own = found[f"layer_{layer}.{name}"]
            assert own.shape == (32,) and own.dtype == torch.float64
            torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-5)
            assert own.unique().numel() == 32


def test_few_rows_at_a_time_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, wanted = tiny_model("qwen2"), responses()
    whole = measured(model, wanted)
    monkeypatch.setattr(measures, "ROWS", 3)
    for name, tensor in measured(model, wanted).items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-10, atol=1e-10)


def test_a_layer_is_measured_alike_whatever_else_is() -> None:
    model, wanted = tiny_model("llama"), responses()
    both = measured(model, wanted)
    for name, tensor in measured(model, wanted, [2]).items():
        assert torch.equal(tensor, both[name])


def test_states_alone() -> None:
    model, wanted = tiny_model("qwen2"), responses()
    found = measure(model, wanted, [1, 3], 64, {})
    assert set(found) == {f"layer_{layer}.{name}" for layer in (1, 3) for name in ("rms", "mean", "first")}


def test_hooks_go_when_the_pass_is_over() -> None:
    model = tiny_model("qwen2")
    measured(model, responses())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Block(nn.Module):
    """A block whose attention has the shapes of an MLP."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.self_attention = nn.ModuleDict({"dense": nn.Linear(12, 8), "up": nn.Linear(8, 12)})
        for name, part in parts.items():
            self.add_module(name, part)


@pytest.mark.parametrize("name", ["down_proj", "c_proj", "fc2", "dense_4h_to_h", "w2"])
@pytest.mark.parametrize("parent", ["", "mlp", "feed_forward"])
def test_the_output_projection_is_found_under_any_name(name: str, parent: str) -> None:
    parts = {"gate": nn.Linear(8, 32), "up": nn.Linear(8, 32), name: nn.Linear(32, 8)}
    block = Block(**{parent: nn.ModuleDict(parts)}) if parent else Block(**parts)
    assert down_projection(block, 1, 8) == (f"{parent}.{name}" if parent else name, parts[name])


def test_blocks_without_a_single_output_projection_are_refused() -> None:
    message = "layer 2: its block has not one MLP output projection.*remove them from interventions.selections"
    experts = [nn.ModuleDict({"up": nn.Linear(8, 32), "down": nn.Linear(32, 8)}) for _ in range(2)]
    shared = Block(mlp=experts[0])
    shared.register_parameter("experts", nn.Parameter(torch.zeros(4, 32, 8)))
    for block in (Block(), Block(experts=nn.ModuleList(experts)), shared):
        with pytest.raises(UserError, match=message):
            down_projection(block, 2, 8)
    config = MixtralConfig(vocab_size=VOCABULARY, num_local_experts=4, **SHAPE)
    with pytest.raises(UserError, match=message):
        find_projections(MixtralForCausalLM(config), [2])


@pytest.mark.parametrize("layer", [0, 4])
def test_layers_without_a_block_are_refused(layer: int) -> None:
    with pytest.raises(UserError, match=rf"interventions\.layers: {layer} has no block; use 1 to 3"):
        find_projections(tiny_model("qwen2"), [1, layer])


def test_responses_that_cannot_be_measured_are_refused() -> None:
    model = tiny_model("qwen2")
    with pytest.raises(UserError, match="training part has no response"):
        measured(model, [])
    with pytest.raises(UserError, match="problem p: its prompt has no tokens"):
        measured(model, [Response("p", 0, [], [1])])
    block: Any = decoder_blocks(model)[1]
    with torch.no_grad():
        block.mlp.down_proj.weight.fill_(float("inf"))
    with pytest.raises(UserError, match=r"layer_2\..*not finite; set models.<name>.dtype to float32"):
        measured(model, responses())


def run(folder: Path, validation: list[Response], *more: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The module on files: two shards of rollouts whose training part is `responses()`."""
    wanted = [*responses(), *validation]
    split = ["train"] * 9 + ["validation"] * len(validation)
    write_parquet(
        pl.DataFrame({"problem_id": [one.problem_id for one in wanted], "split": split}), folder / "problems.parquet"
    )
    for shard in (0, 1):
        columns = ["problem_id", "sample", "prompt_ids", "response_ids"]
        schema = {"prompt_ids": pl.List(pl.Int32), "response_ids": pl.List(pl.Int32)}
        rows = {name: [getattr(one, name) for one in wanted[shard::2]] for name in columns}
        write_parquet(pl.DataFrame(rows, schema_overrides=schema), folder / f"{shard}.parquet")
    model = {"key": "tiny", "path": str(folder / "model"), "revision": None}
    params = json.dumps({"model": model, "interventions": {"layers": [3, 1]}})
    shards = [str(folder / f"{shard}.parquet") for shard in (0, 1)]
    inputs = ["--problems", str(folder / "problems.parquet"), "--rollouts", *shards, "--dataset", "q"]
    output = folder / "measures.safetensors"
    measure_neurons.main(["--params", params, *inputs, *more, "--batch-tokens", "50", "--output", str(output)])
    return read_safetensors(output)


def test_the_module_measures_the_training_part(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model")
    found, metadata = run(tmp_path, [Response("v", 0, [5] * 20, [7] * 20)])
    expected = measured(tiny_model("olmo2"), responses(), [1, 3])
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-5, atol=1e-5)
    assert metadata == {
        "model": "tiny",
        "revision": None,
        "fingerprint": fingerprint(str(tmp_path / "model")),
        "dataset": "q",
        "kind": "measures",
        "layers": [1, 3],
        "projections": {"1": "mlp.down_proj", "3": "mlp.down_proj"},
        "n_responses": 9,
        "n_positions": sum(one.length for one in responses()),
    }
    states, metadata = run(tmp_path, [], "--states-only")
    assert set(states) == {name for name in expected if name.split(".")[1] in ("rms", "mean", "first")}
    assert metadata["projections"] == {}


def test_a_response_to_an_unknown_problem_is_refused(tmp_path: Path) -> None:
    write_parquet(pl.DataFrame({"problem_id": ["p0"], "split": ["train"]}), tmp_path / "problems.parquet")
    rows = {"problem_id": ["p0", "p1"], "sample": [0, 0], "prompt_ids": [[1], [1]], "response_ids": [[2], [2]]}
    write_parquet(pl.DataFrame(rows), tmp_path / "rollouts.parquet")
    with pytest.raises(UserError, match="lacks problem p1"):
        measures.training_responses([tmp_path / "problems.parquet"], [tmp_path / "rollouts.parquet"])
