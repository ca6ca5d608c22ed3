"""The shipped reference models: small, loadable without any special case, and as able as their card says."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workflow_scripts.lib.models import ModelConfig
from workflow_scripts.lib.prompts import build_prompt
from workflow_scripts.lib.reference_model import prompt_ids as training_prompt
from workflow_scripts.lib.reference_model import train_tokenizer
from workflow_scripts.lib.reference_tasks import TASKS, demonstrate, generate_problems
from workflow_scripts.lib.seeds import generator

MODELS = Path("resources/models")
NAMES = ("base",)


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
