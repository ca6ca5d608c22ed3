"""Train the `base` reference model to imitate the demonstrators of all tasks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.reference.model import build_model, prompt_ids, save_model, train_tokenizer
from workflow_scripts.lib.reference.tasks import TASKS, demonstrate, generate_problems
from workflow_scripts.lib.seeds import generator

IGNORED = -100


@dataclass(frozen=True)
class Recipe:
    """Supervised training: demonstrations per task, examples per step, peak learning rates, weight decay, seed."""

    demonstrations: int
    batch_size: int
    learning_rate: float
    matrix_learning_rate: float
    weight_decay: float
    seed: int


def tokenize_demonstrations(tokenizer: Qwen2Tokenizer, recipe: Recipe) -> list[tuple[list[int], int]]:
    """Return one (token ids of prompt + solution + end, prompt length) per problem, for all tasks."""
    examples = []
    for task in TASKS:
        rng = generator(recipe.seed, "demonstrations", task)
        for problem in generate_problems(task, "training", recipe.demonstrations, recipe.seed):
            prompt = prompt_ids(tokenizer, problem.question)
            solution = tokenizer(demonstrate(problem, rng), add_special_tokens=False)["input_ids"]
            examples.append((prompt + solution + [tokenizer.eos_token_id], len(prompt)))
    return examples


def batches(
    examples: list[tuple[list[int], int]], size: int, pad: int, rng: np.random.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield batches of members of similar length, in random order: (ids, labels), each [size, length]."""
    order = rng.permutation(len(examples))
    chunk = size * 50
    groups = []
    for start in range(0, len(order), chunk):
        similar = sorted(order[start : start + chunk], key=lambda i: len(examples[i][0]))
        groups += [similar[i : i + size] for i in range(0, len(similar), size)]
    for index in rng.permutation(len(groups)):
        members = [examples[i] for i in groups[index]]
        length = -(-max(len(ids) for ids, _ in members) // 16) * 16  # few shapes: kernels are prepared once for each
        ids = torch.full((len(members), length), pad)
        labels = torch.full((len(members), length), IGNORED)
        for row, (tokens, prompt) in enumerate(members):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            labels[row, prompt : len(tokens)] = torch.tensor(tokens[prompt:])
        yield ids, labels


def schedule(step: int, total: int) -> float:
    """Return the share of the peak rate: linear warm-up in the first 2 % of steps, linear decay in the last 60 %."""
    return min(1.0, (step + 1) / (0.02 * total), 0.02 + (total - step) / (0.6 * total))


def build_optimizers(model: Qwen2ForCausalLM, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Build Muon for the blocks' matrices, which need half the steps with it, and AdamW for all other weights."""
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    others = [weight for weight in model.parameters() if all(weight is not matrix for matrix in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, lr=recipe.matrix_learning_rate, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=recipe.weight_decay),
    ]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def train(recipe: Recipe, output: Path) -> None:
    """Train tokenizer and model and write both to the folder `output`."""
    tokenizer = train_tokenizer(recipe.seed)
    examples = tokenize_demonstrations(tokenizer, recipe)
    model = build_model(len(tokenizer), recipe.seed, tokenizer.pad_token_id, tokenizer.eos_token_id)
    model.set_attn_implementation("eager")  # the fused kernel's backward pass takes longer on CPUs than everything else
    optimizers = build_optimizers(model, recipe)
    total = -(-len(examples) // recipe.batch_size)
    progress = Progress(len(examples), "examples", "train_base_model", every=30)
    rng = generator(recipe.seed, "order of demonstrations")
    losses: list[float] = []
    for step, (ids, labels) in enumerate(batches(examples, recipe.batch_size, tokenizer.pad_token_id, rng)):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(step, total)
        # Right padding needs no mask: a causal model's real tokens never see what follows them.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        progress.advance(len(ids))
        if step % 100 == 99:
            print(f"step {step}: mean loss of 100 steps {np.mean(losses[-100:]):.4f}", flush=True)
    save_model(model, tokenizer, output)
