"""Supervised training of the base model: what is learnt, in which order, and that the seed decides."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from workflow_scripts.lib.reference.imitation import IGNORED, Recipe, batches, schedule, tokenize_demonstrations, train
from workflow_scripts.lib.reference.model import prompt_ids, train_tokenizer
from workflow_scripts.lib.reference.tasks import TASKS

RECIPE = Recipe(
    demonstrations=8, batch_size=4, learning_rate=1e-3, matrix_learning_rate=1e-2, weight_decay=0.01, seed=3
)


def test_only_the_solution_and_its_end_are_learnt() -> None:
    tokenizer = train_tokenizer(RECIPE.seed)
    examples = tokenize_demonstrations(tokenizer, RECIPE)
    assert len(examples) == len(TASKS) * RECIPE.demonstrations
    seen = 0
    for ids, labels in batches(examples, 4, tokenizer.pad_token_id, np.random.default_rng(0)):
        for row, target in zip(ids.tolist(), labels.tolist(), strict=True):
            learnt = [token for token in target if token != IGNORED]
            prompt = next(p for tokens, p in examples if tokens == row[: len(tokens)])
            assert target[:prompt] == [IGNORED] * prompt and row[prompt : prompt + len(learnt)] == learnt
            assert learnt[-1] == tokenizer.eos_token_id
            assert "\\boxed{" in str(tokenizer.decode(learnt))
            seen += 1
    assert seen == len(examples)


def test_the_prompt_ends_where_the_answer_begins() -> None:
    tokenizer = train_tokenizer(RECIPE.seed)
    assert str(tokenizer.decode(prompt_ids(tokenizer, "Why?"))).endswith("<|im_start|>assistant\n")


def test_schedule_rises_stays_and_falls() -> None:
    shares = [schedule(step, 1000) for step in range(1000)]
    assert shares[0] == pytest.approx(0.05) and max(shares) == 1 and 0 < shares[-1] < 0.03
    assert shares[100] == shares[400] == 1 and np.all(np.diff(shares[450:]) <= 0)


def test_the_seed_reproduces_the_weights(tmp_path: Path) -> None:
    for name in ("first", "second"):
        train(RECIPE, tmp_path / name)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    # Sums over threads may differ in their last bit, which rounding to bfloat16 mostly hides.
    assert all(torch.allclose(first[name].float(), second[name].float(), atol=1e-3) for name in first)
