"""Probes trained together: each as if trained alone, to the last bit, scaled as saved, pruned as by the plain way."""

import numpy as np
import pytest
import torch

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.probes.perceptrons import (
    PARAMETERS,
    Probes,
    Spec,
    importance,
    initial_weights,
    load,
    outputs,
    ranking,
    save,
    scaled,
    shuffle,
    specs_of,
)
from workflow_scripts.lib.probes.pruning import curve, kept_count, kept_inputs, random_rankings
from workflow_scripts.lib.probes.targets import Target, loss
from workflow_scripts.lib.probes.training import Cohort, Training, Units, batches, moments, train
from workflow_scripts.lib.progress import Progress

D, LAYERS = 5, (2, 3, 7)
TRAINING = Training(hidden=6, epochs=3, batch_size=4, learning_rate=1e-2, weight_decay=0.1, input_scaling="zscore")
RATIOS = [0.0, 0.2, 0.5, 0.8, 0.99]


def td_loss(f, labels, last):
    return loss(f.sigmoid(), labels, last, Target())


def units(n: int = 11, layers: tuple[int, ...] = LAYERS) -> Units:
    """Responses of unequal length with states on unequal scales."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 9, n))])
    states = {
        layer: torch.from_numpy(np.random.default_rng(layer).normal(3, [1, 2, 3, 50, 0.1], (offsets[-1], D))).half()
        for layer in layers
    }
    return Units(states, offsets, rng.integers(0, 2, n).astype(float))


def run(specs: list[Spec], data: Units | None = None, training: Training = TRAINING) -> Probes:
    return train(data or units(), specs, training, td_loss, Progress(10**9, "steps", "test", every=1e9))


def assert_same(one: Probes, other: Probes, tolerance: float = 0) -> None:
    assert one.specs == other.specs
    for name in (*PARAMETERS, "mean", "scale"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), atol=tolerance, rtol=tolerance)


@pytest.fixture(scope="module")
def stack() -> Probes:
    return run(specs_of(LAYERS, [0, 1], [1]))


def test_a_stack_holds_layers_seeds_and_labels(stack):
    assert [(s.layer, s.seed, s.labels) for s in stack.specs[:3]] == [
        (2, 0, "true"),
        (2, 1, "true"),
        (2, 1, "shuffled"),
    ]
    assert stack.w1.shape == (9, 6, D) and stack.mean.shape == (9, D) and stack.b2.shape == (9,)
    assert not torch.allclose(stack.w1[0], stack.w1[1]) and not torch.allclose(stack.w1[1], stack.w1[2])


def test_a_probe_of_the_stack_equals_one_trained_alone(stack):
    for i, spec in enumerate(stack.specs):
        assert_same(stack.select([i]), run([spec], units(layers=(spec.layer,))))


def test_a_probe_equals_one_trained_by_torch_alone(stack):
    """The plain version: nn.Sequential, autograd and AdamW, one probe, one batch after the other."""
    data, spec = units(), stack.specs[4]
    first = initial_weights(spec.seed, D, 6, 1)
    model = torch.nn.Sequential(torch.nn.Linear(D, 6), torch.nn.ReLU(), torch.nn.Linear(6, 1))
    names = ("0.weight", "0.bias", "2.weight", "2.bias")
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    model.load_state_dict({n: first[key].view(shapes[n]) for n, key in zip(names, PARAMETERS, strict=True)})
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    states = data.layers[spec.layer].double()
    inputs = ((states - states.mean(0)) / states.std(0, correction=0)).float()
    for rows, owner, last in batches(data.offsets, spec.seed, 3, 4):
        values = model(inputs[rows])[:, 0].sigmoid()[None]
        rewards = torch.from_numpy(data.labels[owner]).float()[None]
        optimiser.zero_grad()
        loss(values, rewards, torch.from_numpy(last), Target()).sum().backward()
        optimiser.step()
    plain = model.state_dict()
    for name, key in zip(names, PARAMETERS, strict=True):
        torch.testing.assert_close(plain[name].flatten(), getattr(stack, key)[4].flatten(), atol=1e-5, rtol=1e-4)


def test_the_order_of_the_specs_is_kept():
    wanted = [Spec(3, 1, "true"), Spec(2, 0, "true"), Spec(3, 0, "shuffled"), Spec(2, 1, "true")]
    result = run(wanted)
    assert result.specs == wanted
    assert_same(result.select([1]), run([wanted[1]]))


@pytest.mark.parametrize("gradient", ["semi", "residual"])
def test_the_written_out_gradient_equals_autograd(gradient):
    rng = torch.Generator().manual_seed(0)
    cohort = Cohort(0, D, 2, TRAINING, torch.device("cpu"))
    inputs = torch.randn(2, 7, D, generator=rng)
    labels = torch.tensor([[1.0] * 4 + [0.0] * 3, [0.0] * 4 + [1.0] * 3])
    last = torch.tensor([False, False, False, True, False, False, True])

    def of(f, labels, last):
        return loss(f.sigmoid(), labels, last, Target("td", gradient, gamma=0.9))

    first = [{name: tensor.clone().requires_grad_() for name, tensor in one.items()} for one in cohort.weights]
    cohort.step(list(inputs), list(labels), last, of)
    for weights, found, seen, wanted in zip(first, cohort.gradients, inputs, labels, strict=True):
        hidden = torch.relu(seen @ weights["w1"].T + weights["b1"])
        of((hidden @ weights["w2"] + weights["b2"])[None], wanted[None], last).sum().backward()
        for name, tensor in weights.items():
            torch.testing.assert_close(found[name], tensor.grad)


def test_batches_visit_every_unit_once_an_epoch_and_depend_on_the_seed_alone():
    data = units()
    seen = list(batches(data.offsets, 5, 2, 4))
    assert len(seen) == 6
    for epoch in (seen[:3], seen[3:]):
        rows = np.concatenate([rows for rows, _, _ in epoch])
        assert sorted(rows.tolist()) == list(range(data.offsets[-1]))
    for rows, owner, last in seen:
        assert (np.searchsorted(data.offsets, rows, side="right") - 1 == owner).all()
        assert (last == np.isin(rows + 1, data.offsets)).all()
    assert [r.tolist() for r, _, _ in seen[:3]] != [r.tolist() for r, _, _ in seen[3:]]
    assert [r.tolist() for r, _, _ in batches(data.offsets, 5, 1, 4)] == [r.tolist() for r, _, _ in seen[:3]]


def test_shuffled_labels_are_a_permutation():
    labels = np.arange(20.0)
    once = shuffle(labels, 3)
    assert sorted(once) == labels.tolist() and (once != labels).any()
    assert (once == shuffle(labels, 3)).all() and (once != shuffle(labels, 4)).any()


def test_scaling_is_the_training_parts_and_travels_with_the_probe(stack, tmp_path):
    states = units().layers[2].double()
    torch.testing.assert_close(stack.mean[0], states.mean(0).float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(stack.scale[0], states.std(0, correction=0).float(), rtol=1e-5, atol=1e-6)
    save(stack, {"model": "grpo", "dataset": "ledger", "kind": "value"}, tmp_path / "probes.safetensors")
    loaded, metadata = load(tmp_path / "probes.safetensors", model="grpo", kind="value")
    assert_same(stack, loaded)
    assert metadata["dataset"] == "ledger"
    assert torch.equal(outputs(stack, states), outputs(loaded, states))
    raw = run(stack.specs, training=Training(**{**TRAINING.__dict__, "input_scaling": "none"}))
    assert raw.mean.eq(0).all() and raw.scale.eq(1).all()


def test_constant_and_missing_inputs_do_not_break_the_scaling():
    mean, scale = moments(torch.tensor([[1.0, 0.1], [1.0, 0.3]]).half(), 1)
    assert scale[0] == 1 and scale[1] == pytest.approx(0.1, rel=1e-2) and mean[0] == 1
    mean, scale = moments(torch.empty(0, 2), 1)
    assert mean.tolist() == [0, 0] and scale.tolist() == [1, 1]
    with pytest.raises(UserError, match="layer 4: hidden states are not finite"):
        moments(torch.tensor([[1.0, float("inf")]]), 4)


def test_without_training_units_the_probes_stay_as_they_began():
    empty = Units({2: torch.empty(0, D)}, np.zeros(1, dtype=np.int64), np.zeros(0))
    result = run(specs_of([2], [0], []), empty)
    assert torch.equal(result.w1[0], initial_weights(0, D, 6, 1)["w1"][0])


def test_a_wrong_probe_file_is_refused(stack, tmp_path):
    path = tmp_path / "probes.safetensors"
    save(stack, {"model": "grpo"}, path)
    with pytest.raises(UserError, match='model is "grpo", but "ppo" is asked for'):
        load(path, model="ppo")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load(path)


def test_kept_counts():
    assert [kept_count(ratio, 192) for ratio in (0.0, 0.1, 0.5, 0.9, 0.98, 0.99)] == [192, 173, 96, 19, 4, 2]
    assert kept_count(0.99, 10) == 1  # never none
    assert kept_count(0.9, 15) == 2 and kept_count(0.9, 25) == 2  # 1.5 and 2.5: halves go to the even neighbour
    assert kept_count(0.7, 5) == 2  # (1 - 0.7) * 5 is 1.5000000000000002 in floating point


def masked_outputs(probes: Probes, states: torch.Tensor, keep: torch.Tensor) -> np.ndarray:
    """The plain version: zero the pruned inputs after scaling, run the whole probe."""
    inputs = scaled(probes, states) * keep[:, None]
    hidden = torch.relu(inputs @ probes.w1.transpose(1, 2) + probes.b1[:, None])
    return ((hidden * probes.w2[:, None]).sum(-1) + probes.b2[:, None]).numpy()


@pytest.mark.parametrize("kept", ["importance", "random"])
def test_one_pass_gives_what_masking_and_running_gives(stack, kept):
    states = units().layers[3]
    ranked = ranking(stack) if kept == "importance" else random_rankings(stack.specs, D, 0, 0)
    found = curve(stack, states, ranked, RATIOS[::-1])
    for ratio, mine in zip(RATIOS[::-1], found, strict=True):
        keep = torch.zeros(len(stack.specs), D)
        for row, order in enumerate(ranked):
            keep[row, kept_inputs(order, ratio)] = 1
        assert keep.sum(1).eq(kept_count(ratio, D)).all()
        np.testing.assert_allclose(mine, masked_outputs(stack, states, keep), atol=1e-5)
    np.testing.assert_allclose(found[-1], outputs(stack, states).numpy(), atol=1e-5)


def test_importance_is_the_l1_norm_of_an_inputs_weights(stack):
    w1 = torch.tensor([[[1.0, -2.0, 0.0], [3.0, 0.5, -0.25]]])
    probe = Probes([Spec(1, 0, "true")], w1, *(torch.zeros(1, 2),) * 2, torch.zeros(1), *(torch.zeros(1, 3),) * 2)
    assert importance(probe).tolist() == [[4.0, 2.5, 0.25]]
    assert ranking(probe).tolist() == [[0, 1, 2]]


def test_random_rankings_belong_to_layer_and_draw():
    specs = specs_of([1, 2], [0, 1], [])
    first, again, next_draw = (random_rankings(specs, 40, draw, 0) for draw in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, next_draw)
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])
    assert torch.equal(first.sort(1).values, torch.arange(40).expand(4, -1))
    assert torch.equal(random_rankings(specs[2:], 40, 0, 0), first[2:])


def test_results_do_not_depend_on_threads(stack):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if before > 1 else 2)
        assert_same(stack, run(stack.specs), tolerance=1e-5)  # a sum may be taken in another order
    finally:
        torch.set_num_threads(before)


def test_file_holds_the_contracts_tensors(stack, tmp_path):
    from safetensors import safe_open

    save(stack, {"kind": "value"}, tmp_path / "probes.safetensors")
    with safe_open(tmp_path / "probes.safetensors", framework="pt") as file:
        assert sorted(file.keys()) == ["b1", "b2", "mean", "scale", "w1", "w2"]
