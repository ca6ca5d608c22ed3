"""The shipped reference models: small, loadable without any special case, and as able as their card says."""

import json
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workflow_scripts.lib.engines.interface import Request, Sampling
from workflow_scripts.lib.engines.transformers_engine import load
from workflow_scripts.lib.grading.grade import Answer, Grader, grade
from workflow_scripts.lib.models.load import ModelConfig
from workflow_scripts.lib.models.prompts import build_prompt
from workflow_scripts.lib.reference.model import prompt_ids as training_prompt
from workflow_scripts.lib.reference.model import train_tokenizer
from workflow_scripts.lib.reference.tasks import TASKS, demonstrate, generate_problems
from workflow_scripts.lib.seeds import generator

MODELS = Path("resources/models")
NAMES = ("base", "grpo", "ppo")
CARD = MODELS / "README.md"


def folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def test_sizes() -> None:
    sizes = {name: folder_size(MODELS / name) for name in NAMES}
    assert max(sizes.values()) <= 10_000_000
    assert sum(sizes.values()) <= 24_000_000


@pytest.mark.parametrize("name", NAMES)
def test_architecture_and_weights(name: str) -> None:
    config = json.loads((MODELS / name / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForCausalLM"] and "auto_map" not in config
    assert config["hidden_size"] >= 192 and config["num_hidden_layers"] >= 6
    model = AutoModelForCausalLM.from_pretrained(MODELS / name)
    assert all(weight.dtype == torch.bfloat16 for weight in model.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_tokenizer_that_loads_is_the_one_of_training(name: str) -> None:
    loaded, trained = AutoTokenizer.from_pretrained(MODELS / name), train_tokenizer(seed=0)
    rng = generator(0, "test of the tokenizer")
    config = ModelConfig(name, str(MODELS / name), instruction="")
    for task in TASKS:
        for problem in generate_problems(task, "evaluation", 20, seed=1):
            text = demonstrate(problem, rng)
            assert loaded(text)["input_ids"] == trained(text)["input_ids"]
            assert loaded.decode(loaded(text)["input_ids"]) == text
            assert build_prompt(problem.question, config, loaded) == training_prompt(trained, problem.question)


@cache
def card_rows() -> dict[tuple[str, str], list[str]]:
    """(model, task) -> the other cells of its row in the card's first table."""
    rows = re.findall(r"^\| (\w+) \| (\w+) \| (\d+ \|.*) \|$", CARD.read_text(encoding="utf-8"), flags=re.M)
    return {(model, task): [cell.strip() for cell in cells.split("|")] for model, task, cells in rows}


def test_the_card_measures_every_model_on_every_task() -> None:
    assert set(card_rows()) == {(name, task) for name in NAMES for task in TASKS}
    assert all(int(cells[0]) >= 1000 for cells in card_rows().values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("task", TASKS)
def test_the_weights_are_as_able_as_the_card_says(name: str, task: str) -> None:
    config = ModelConfig(name, str(MODELS / name), instruction="")
    engine = load(config)
    problems = generate_problems(task, "evaluation", 150, seed=19)
    prompts = [build_prompt(problem.question, config, engine.tokenizer) for problem in problems]
    requests = [Request(tuple(prompt), (str(i),), 256) for i, prompt in enumerate(prompts)]
    right = 0
    for index, (completion,) in engine.generate(requests, Sampling(1.0, 0.95, 256), seed=19):
        text = str(engine.tokenizer.decode(completion.token_ids))
        right += grade(Answer(text, problems[index].gold), Grader("boxed_integer")).reward
    stated = float(card_rows()[name, task][1].split()[0])
    assert abs(right / len(problems) - stated) < 4 * (stated * (1 - stated) / len(problems)) ** 0.5
