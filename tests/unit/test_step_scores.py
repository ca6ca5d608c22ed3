"""Scores of paragraphs: the features are those of training, the sums those of single passes, whatever the batch."""

import random
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.unit.byte_tokenizers import byte_level
from tests.unit.tiny_models import VOCABULARY, tiny_model, tiny_tokenizer
from workflow_scripts.lib.engines.transformers_engine import TransformersEngine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import decoder_blocks
from workflow_scripts.lib.models.states import Response, dump
from workflow_scripts.lib.probes.features import average, normalizer
from workflow_scripts.lib.probes.perceptrons import Probes, Spec, outputs
from workflow_scripts.lib.search.step_scores import (
    StateReader,
    Step,
    check_same_vocabulary,
    dopamine_scores,
    log_ratio_scores,
    paragraph_features,
    random_scores,
    read_states,
    value_scores,
)

LAYER, D = 2, 32
RNG = random.Random(0)
PAIRS = [
    (tuple(RNG.randrange(1, VOCABULARY) for _ in range(p)), tuple(RNG.randrange(1, VOCABULARY) for _ in range(t)))
    for p, t in ((5, 12), (1, 7), (9, 20), (3, 1))
]
ENDS = [[0, 4, 12], [0, 7], [0, 1, 2, 15, 20], [0, 1]]


def reader(batch_tokens: int = 64, dtype: torch.dtype = torch.float16) -> StateReader:
    return StateReader(tiny_model("qwen2"), LAYER, dtype, batch_tokens)


def some_probes(specs: list[Spec], d: int = D, seed: int = 0) -> Probes:
    torch.manual_seed(seed)
    n = len(specs)
    shapes = {"w1": (n, 6, d), "b1": (n, 6), "w2": (n, 6), "b2": (n,), "mean": (n, d)}
    return Probes(specs, **{name: torch.randn(shape) for name, shape in shapes.items()}, scale=torch.ones(n, d))


PROBES = some_probes([Spec(1, 0, "true"), Spec(2, 0, "true"), Spec(2, 1, "true"), Spec(2, 0, "shuffled")])


def trained_features(read: StateReader) -> torch.Tensor:
    """What `average_paragraphs` makes of the same responses with `normalization: causal`."""
    responses = [Response(f"p-{i}", 0, *pair) for i, pair in enumerate(PAIRS)]
    states = dump(read.model, responses, [LAYER], read.dtype, 10_000)
    places = {(f"p-{i}", 0): i for i in range(len(PAIRS))}
    boundaries = dict(zip(places, ENDS, strict=True))
    normalize = normalizer("causal", states, LAYER, {})
    return average(states.layers[LAYER], states.offsets.tolist(), places, boundaries, normalize)


def test_features_are_those_of_training() -> None:
    read = reader(10_000)
    torch.testing.assert_close(torch.cat(paragraph_features(PAIRS, ENDS, read)), trained_features(read), rtol=0, atol=0)


def test_features_of_a_paragraph_do_not_depend_on_what_follows() -> None:
    read = reader(dtype=torch.float32)
    whole = torch.cat(paragraph_features(PAIRS, ENDS, read))
    cut = [
        paragraph_features([(prompt, response[:end])], [[start, end]], read)[0]
        for (prompt, response), ends in zip(PAIRS, ENDS, strict=True)
        for start, end in pairwise(ends)
    ]
    torch.testing.assert_close(torch.cat(cut), whole, rtol=0, atol=2e-4)


@pytest.mark.parametrize("family", ["qwen2", "gpt2", "gemma3"])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_pass_ends_with_the_layer_that_is_read_and_the_model_is_left_as_it_was(family: str, layer: int) -> None:
    model, deepest = tiny_model(family), []
    blocks = decoder_blocks(model)
    for depth, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, depth=depth: deepest.append(depth))
    states = read_states(PAIRS, StateReader(model, layer, torch.float32, 10_000)).layers[layer]
    assert max(deepest, default=-1) == layer - 1
    named, every = [Response(str(i), 0, *pair) for i, pair in enumerate(PAIRS)], [layer, len(blocks)]
    torch.testing.assert_close(states, dump(model, named, every, torch.float32, 10_000).layers[layer])
    assert max(deepest) == len(blocks) - 1


def steps_of_pairs() -> list[Step]:
    return [
        Step(prompt, response[:start], response[start:end])
        for (prompt, response), ends in zip(PAIRS, ENDS, strict=True)
        for start, end in pairwise(ends)
    ]


def test_dopamine_scores_are_the_mean_prediction_of_the_layers_true_probes() -> None:
    read = reader(10_000, torch.float32)
    expected = outputs(PROBES.select([1, 2]), trained_features(read)).mean(0)
    scores = dopamine_scores(steps_of_pairs(), PROBES, read)
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-3)
    assert np.ptp(scores) > 0.1


def test_order_and_batches_change_scores_by_rounding_alone_and_equal_steps_score_alike() -> None:
    steps = steps_of_pairs()
    mixed = [*reversed(steps), *steps, Step((1,), (2,), ())]
    once = dopamine_scores(steps, PROBES, reader(10_000, torch.float32))
    again = dopamine_scores(mixed, PROBES, reader(25, torch.float32))
    np.testing.assert_allclose(again[:-1], [*reversed(once), *once], atol=1e-3)
    assert again[: len(steps)][::-1] == again[len(steps) : -1] and again[-1] == 0.0
    assert dopamine_scores([], PROBES, reader()) == []
    assert dopamine_scores([Step((1,), (), ())], PROBES, reader()) == [0.0]


def test_log_ratios_are_sums_over_the_paragraph_alone() -> None:
    model, steps = tiny_model("qwen2", seed=1), steps_of_pairs()
    logprobs = [[-0.5] * len(step.paragraph) for step in steps]
    given = [*steps, steps[0], Step((1, 2), (3,), ())]
    engine = TransformersEngine(model, tiny_tokenizer(), 3)
    scores = log_ratio_scores(given, [*logprobs, [-9.0] * len(steps[0].paragraph), []], engine)
    for step, score in zip(steps, scores, strict=False):
        ids = [*step.prompt_ids, *step.before, *step.paragraph]
        table = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        there = sum(float(table[i - 1, ids[i]]) for i in range(len(ids) - len(step.paragraph), len(ids)))
        assert score == pytest.approx(-0.5 * len(step.paragraph) - there, abs=1e-3)
    assert scores[-2] == scores[0] and scores[-1] == 0.0  # the same step has one score; no tokens, no evidence
    assert log_ratio_scores([], [], engine) == []


def test_a_model_scored_against_itself_gives_nothing() -> None:
    engine = TransformersEngine(tiny_model("qwen2"), tiny_tokenizer(), 3)
    steps = steps_of_pairs()
    own = [
        score[-len(step.paragraph) :].tolist()
        for step, score in zip(
            steps, engine.score([[*s.prompt_ids, *s.before, *s.paragraph] for s in steps]), strict=True
        )
    ]
    assert max(map(abs, log_ratio_scores(steps, own, engine))) < 1e-5


def test_random_scores_belong_to_their_name() -> None:
    assert random_scores(4, "p-1", 0, 2) == random_scores(4, "p-1", 0, 2)
    assert len({random_scores(4, name, seed, 2)[0] for name in ("p-1", "p-2") for seed in (0, 1)}) == 4
    assert np.mean(random_scores(4000, "p", 0, 0)) == pytest.approx(0.5, abs=0.03)


def test_value_scores_read_the_last_state_of_prompt_and_response() -> None:
    read = reader(10_000, torch.float32)
    pairs = [*PAIRS, (PAIRS[0][0], ()), PAIRS[0]]
    scores = value_scores(pairs, PROBES, read)
    for (prompt, response), score in zip(pairs, scores, strict=True):
        states = read.model(torch.tensor([[*prompt, *response]]), output_hidden_states=True).hidden_states[LAYER]
        expected = outputs(PROBES.select([1, 2]), states[0, -1:]).sigmoid().mean()
        assert score == pytest.approx(float(expected), abs=1e-4)
    assert scores[-1] == scores[0] and value_scores([], PROBES, read) == []


def test_probes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UserError, match=r"dopamine probes: none of layer 2 \(layers with some: 1\)"):
        dopamine_scores(steps_of_pairs(), PROBES.of(layer=1), reader())
    with pytest.raises(UserError, match=r"value probes: read 8 neurons, but the model has 32"):
        value_scores(PAIRS, some_probes([Spec(2, 0, "true")], d=8), reader())


def test_a_reference_with_another_vocabulary_is_refused(tmp_path: Path) -> None:
    check_same_vocabulary(tiny_tokenizer(), tiny_tokenizer(), "grpo", "base")
    with pytest.raises(
        UserError, match=r"search.reference: base does not share the tokenizer of grpo .* name the model"
    ):
        check_same_vocabulary(tiny_tokenizer(), byte_level(True), "grpo", "base")
