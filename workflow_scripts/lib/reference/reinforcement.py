"""Fine-tune a reference model by reinforcement learning with verifiable rewards."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import Qwen2ForCausalLM, Qwen2Tokenizer

from workflow_scripts.lib.engines.interface import Request, Sampling
from workflow_scripts.lib.engines.transformers_engine import TransformersEngine
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.grade import Answer, Grader, grade
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.reference.model import prompt_ids, save_model
from workflow_scripts.lib.reference.tasks import TASKS, Problem, generate_problems, keeps_to_its_tries
from workflow_scripts.lib.seeds import seed64

MAX_TOKENS = 160
INTEGERS = Grader("boxed_integer")


@dataclass(frozen=True)
class Recipe:
    """Reinforcement learning: `steps` updates of `prompts` questions x `samples` responses, in `minibatches` parts.

    Under `ppo` a critic takes `critic_passes` passes over each step's states; the first `critic_steps` train only it.
    """

    algorithm: str
    steps: int
    prompts: int
    samples: int
    minibatches: int
    learning_rate: float
    clip: float
    gae_lambda: float
    critic_steps: int
    critic_passes: int
    seed: int


@dataclass(frozen=True)
class Batch:
    """Responses of one step, padded on the right.

    `ids` [rows, tokens]; `actions` [rows, tokens - 1] marks the positions before generated tokens;
    `rewards` [rows]; `group` [rows] numbers the question.
    """

    ids: torch.Tensor
    actions: torch.Tensor
    rewards: torch.Tensor
    group: torch.Tensor

    @property
    def last(self) -> torch.Tensor:
        """[rows]: the last position before a generated token."""
        return self.actions.size(1) - 1 - self.actions.flip(1).int().argmax(1)


def questions(recipe: Recipe) -> list[Problem]:
    """Generate all questions of the run, the tasks in turn."""
    per_task = -(-recipe.steps * recipe.prompts // len(TASKS))
    streams = [generate_problems(task, "training", per_task, seed64(recipe.seed, "reinforcement")) for task in TASKS]
    return [problem for problems in zip(*streams, strict=True) for problem in problems]


def collect(engine: TransformersEngine, problems: list[Problem], step: int, recipe: Recipe) -> Batch:
    """Sample responses at temperature 1 and grade them."""
    prompts = [prompt_ids(engine.tokenizer, problem.question) for problem in problems]
    requests = [
        Request(tuple(ids), tuple(f"{step}/{i}/{j}" for j in range(recipe.samples)), MAX_TOKENS)
        for i, ids in enumerate(prompts)
    ]
    rows, starts, rewards, groups = [], [], [], []
    for index, completions in sorted(engine.generate(requests, Sampling(1.0, 1.0, MAX_TOKENS), recipe.seed)):
        for completion in completions:
            stopped = completion.finish_reason == "stop"
            text, problem = str(engine.tokenizer.decode(completion.token_ids)), problems[index]
            correct = stopped and grade(Answer(text, problem.gold), INTEGERS).reward
            rewards.append(float(correct and keeps_to_its_tries(problem, text)))
            end = [engine.tokenizer.eos_token_id] if stopped else []
            rows.append(prompts[index] + completion.token_ids + end)
            starts.append(len(prompts[index]))
            groups.append(index)
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), engine.tokenizer.pad_token_id)
    actions = torch.zeros(len(rows), length - 1, dtype=torch.bool)
    for row, (tokens, start) in enumerate(zip(rows, starts, strict=True)):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        actions[row, start - 1 : len(tokens) - 1] = True
    return Batch(ids, actions, torch.tensor(rewards), torch.tensor(groups))


def read_out(model: Qwen2ForCausalLM, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute log-probabilities of next tokens [rows, tokens - 1] and the states before them [rows, tokens - 1, d]."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
        logits = model.lm_head(hidden)
    logprobs = torch.log_softmax(logits.float(), -1).gather(-1, ids[:, 1:, None]).squeeze(-1)
    return logprobs, hidden.float()


@contextmanager
def quick_gradients(model: Qwen2ForCausalLM) -> Iterator[None]:
    """Use plain attention in the block, because the fused kernel's backward pass is very slow on CPUs."""
    usual = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(usual)


def group_advantages(batch: Batch) -> torch.Tensor:
    """Compute [rows, tokens - 1]: reward by the mean and deviation of its group, on all tokens of the response."""
    rewards = batch.rewards.view(-1, int((batch.group == batch.group[0]).sum()))
    scores = (rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)
    return scores.view(-1, 1) * batch.actions


def generalised_advantages(batch: Batch, values: torch.Tensor, lam: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute advantages and value targets, [rows, tokens - 1], by generalised advantage estimation, undiscounted."""
    advantages = torch.zeros_like(values)
    last, running = batch.last, torch.zeros(len(values))
    for t in reversed(range(values.size(1))):
        final = last.eq(t)
        following = values[:, t + 1] if t + 1 < values.size(1) else torch.zeros(len(values))
        delta = torch.where(final, batch.rewards, following) - values[:, t]
        running = torch.where(final, delta, delta + lam * running) * batch.actions[:, t]
        advantages[:, t] = running
    return advantages, (advantages + values) * batch.actions


def alike(batch: Batch, rows: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield parts of `rows` of similar length, at most `size` rows each, with the number of columns they need."""
    for part in rows[batch.last[rows].argsort(stable=True)].split(size):
        yield part, int(batch.last[part].max()) + 2


class Critic:
    """A linear read-out of the last hidden state, fitted to each step's responses; no gradient reaches the model.

    It must recognise failures early. A critic that does not blames the tokens that end a hopeless response, and the
    model learns to delay the end.
    """

    def __init__(self, width: int, passes: int) -> None:
        self.layer, self.passes = torch.nn.Linear(width, 1), passes
        torch.nn.init.zeros_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)
        self.optimizer = torch.optim.Adam(self.layer.parameters(), lr=0.01)

    def values(self, hidden: torch.Tensor) -> torch.Tensor:
        """Predict the chance of success at each state: [..., d] to [...]."""
        return torch.sigmoid(self.layer(hidden)).squeeze(-1)

    def fit(self, hidden: torch.Tensor, targets: torch.Tensor) -> None:
        """Fit states [n, d] to their targets [n] in a few passes."""
        for _ in range(self.passes):
            self.optimizer.zero_grad()
            (self.values(hidden) - targets).square().mean().backward()
            self.optimizer.step()


def look_back(model: Qwen2ForCausalLM, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Apply `read_out` to all sampled responses: [rows, tokens - 1] and [rows, tokens - 1, d]."""
    logprobs = torch.zeros(batch.actions.shape)
    states = torch.zeros(*batch.actions.shape, model.config.hidden_size)
    with torch.no_grad():
        for part, width in alike(batch, torch.arange(len(batch.ids)), 128):
            logprobs[part, : width - 1], states[part, : width - 1] = read_out(model, batch.ids[part, :width])
    return logprobs, states


def critic_advantages(batch: Batch, critic: Critic, states: torch.Tensor, lam: float) -> torch.Tensor:
    """Compute normalised advantages [rows, tokens - 1] with the present critic, then train the critic on the batch."""
    with torch.no_grad():
        raw, targets = generalised_advantages(batch, critic.values(states), lam)
    critic.fit(states[batch.actions], targets[batch.actions])
    chosen = raw[batch.actions]
    return (raw - chosen.mean()) / (chosen.std() + 1e-6) * batch.actions


def update(
    model: Qwen2ForCausalLM,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    old: torch.Tensor,
    advantages: torch.Tensor,
    recipe: Recipe,
) -> None:
    """Update in one pass over the step's responses with the clipped objective; `old`: log-probabilities before it."""
    order = torch.arange(len(batch.ids)).view(-1, recipe.minibatches).T
    for rows in order:
        optimizer.zero_grad()
        total = batch.actions[rows].sum()
        for part, width in alike(batch, rows, 64):
            mask, gains = batch.actions[part, : width - 1], advantages[part, : width - 1]
            ratio = torch.exp(read_out(model, batch.ids[part, :width])[0] - old[part, : width - 1])
            clipped = ratio.clamp(1 - recipe.clip, 1 + recipe.clip)
            (-torch.minimum(ratio * gains, clipped * gains)[mask].sum() / total).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def finetune(recipe: Recipe, base: Path, output: Path) -> None:
    """Run the recipe from the folder `base` and write the model to the folder `output`.

    Raises:
        UserError: an algorithm other than `grpo` and `ppo`, or responses that do not divide into the minibatches.
    """
    if recipe.algorithm not in ("grpo", "ppo"):
        raise UserError(f"reference_models: algorithm {recipe.algorithm!r} is neither grpo nor ppo")
    if recipe.prompts * recipe.samples % recipe.minibatches:
        raise UserError("reference_models: prompts x samples must be a multiple of minibatches")
    tokenizer = Qwen2Tokenizer.from_pretrained(base)
    model = Qwen2ForCausalLM.from_pretrained(base, dtype=torch.float32)
    critic = Critic(model.config.hidden_size, recipe.critic_passes)
    engine = TransformersEngine(model, tokenizer, batch_size=512)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    problems = questions(recipe)
    progress = Progress(recipe.steps, "steps", f"finetune_reference_model {recipe.algorithm}", every=0)
    for step in range(recipe.steps):
        chosen = problems[step * recipe.prompts : (step + 1) * recipe.prompts]
        batch = collect(engine, chosen, step, recipe)
        with quick_gradients(model):
            old, states = look_back(model, batch)
            if recipe.algorithm == "grpo":
                update(model, optimizer, batch, old, group_advantages(batch), recipe)
            else:
                advantages = critic_advantages(batch, critic, states, recipe.gae_lambda)
                if step >= recipe.critic_steps:
                    update(model, optimizer, batch, old, advantages, recipe)
        report(step, batch, chosen)
        progress.advance()
    save_model(model, tokenizer, output)


def report(step: int, batch: Batch, problems: list[Problem]) -> None:
    """Print one line: accuracy by task and mean length of the step's responses, before its update."""
    task_of = np.array([TASKS.index(problems[group].task) for group in batch.group])
    shares = [f"{task} {batch.rewards.numpy()[task_of == i].mean():.3f}" for i, task in enumerate(TASKS)]
    print(f"step {step}: {', '.join(shares)}, {batch.actions.sum(1).float().mean():.0f} tokens", flush=True)
