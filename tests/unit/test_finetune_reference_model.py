"""Reinforcement learning of the reference models: advantages by hand, and a run that its seed reproduces."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.reference.reinforcement import (
    Batch,
    Recipe,
    finetune,
    generalised_advantages,
    group_advantages,
    questions,
)
from workflow_scripts.lib.reference.tasks import TASKS

BASE = Path("resources/models/base")
RECIPE = Recipe(
    algorithm="grpo",
    steps=1,
    prompts=6,
    samples=4,
    minibatches=2,
    learning_rate=1e-4,
    clip=0.2,
    gae_lambda=0.95,
    critic_steps=0,
    critic_passes=5,
    seed=7,
)


def batch(rewards: list[int], actions: list[list[int]], group: list[int]) -> Batch:
    mask = torch.tensor(actions).bool()
    ids = torch.zeros(mask.shape[0], mask.shape[1] + 1, dtype=torch.long)
    return Batch(ids, mask, torch.tensor(rewards, dtype=torch.float32), torch.tensor(group))


def test_group_advantages_are_rewards_against_their_own_group() -> None:
    found = group_advantages(batch([1, 0, 1, 1], [[0, 1, 1], [0, 1, 0], [1, 1, 0], [0, 0, 1]], [0, 0, 1, 1]))
    high = 0.5 / 2**-0.5
    expected = torch.tensor([[0, high, high], [0, -high, 0], [0, 0, 0], [0, 0, 0]])
    assert torch.allclose(found, expected, atol=1e-3)


def test_generalised_advantages_by_hand() -> None:
    # Two tokens of a response, values 0.4 and 0.6 before them, reward 1: delta = (0.2, 0.4).
    values = torch.tensor([[0.9, 0.4, 0.6, 0.8], [0.5, 0.9, 0.9, 0.9]])
    advantages, targets = generalised_advantages(batch([1, 0], [[0, 1, 1, 0], [1, 0, 0, 0]], [0, 1]), values, lam=0.5)
    assert torch.allclose(advantages, torch.tensor([[0, 0.2 + 0.5 * 0.4, 0.4, 0], [-0.5, 0, 0, 0]]))
    assert torch.allclose(targets, torch.tensor([[0, 0.8, 1.0, 0], [0, 0, 0, 0]]))


def test_questions_visit_the_tasks_in_turn() -> None:
    assert [problem.task for problem in questions(RECIPE)] == [*TASKS, *TASKS]


@pytest.mark.parametrize("algorithm", ["grpo", "ppo"])
def test_a_run_moves_the_weights_and_its_seed_reproduces_it(algorithm: str, tmp_path: Path) -> None:
    recipe = replace(RECIPE, algorithm=algorithm)
    for name in ("first", "second"):
        finetune(recipe, BASE, tmp_path / name)
    first, second, base = (load_file(f / "model.safetensors") for f in (tmp_path / "first", tmp_path / "second", BASE))
    assert first.keys() == base.keys()
    moved = [name for name in base if not torch.equal(first[name], base[name])]
    assert moved
    # Sums over threads may differ in their last bit, which rounding to bfloat16 mostly hides.
    assert all(torch.allclose(first[name].float(), second[name].float(), atol=1e-3) for name in base)


def test_the_critic_learns_alone_at_first(tmp_path: Path) -> None:
    finetune(replace(RECIPE, algorithm="ppo", critic_steps=1), BASE, tmp_path)
    model, base = (load_file(folder / "model.safetensors") for folder in (tmp_path, BASE))
    assert all(torch.equal(model[name], base[name]) for name in base)


def test_what_cannot_be_done_is_refused() -> None:
    with pytest.raises(UserError, match="neither grpo nor ppo"):
        finetune(replace(RECIPE, algorithm="dpo"), BASE, Path("unused"))
    with pytest.raises(UserError, match="multiple of minibatches"):
        finetune(replace(RECIPE, minibatches=5), BASE, Path("unused"))
