"""Turn problems into requests for an engine."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from workflow_scripts.lib.engines.interface import Completion, Engine, Request, Sampling
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, read_architecture
from workflow_scripts.lib.models.prompts import PLAIN, Wording, build_prompt
from workflow_scripts.lib.progress import Progress


def build_requests(
    problems: pl.DataFrame, model: ModelConfig, tokenizer: Any, n: int, max_tokens: int, wording: Wording = PLAIN
) -> list[Request]:
    """Build one request per problem, with `n` keys.

    Raises:
        UserError: a prompt is empty or leaves no room in the model's context.
    """
    context = read_architecture(model.path, model.revision).context
    requests = []
    for problem_id, question, place in problems.select("problem_id", "question", "place").iter_rows():
        token_ids = build_prompt(question, model, tokenizer, wording)
        if not token_ids:
            raise UserError(f"{place}: the prompt has no tokens; fix the question")
        if context is not None and len(token_ids) >= context:
            raise UserError(
                f"{place}: the prompt has {len(token_ids)} tokens, but model {model.key} reads {context}; "
                "shorten or remove the problem"
            )
        keys = tuple(f"{problem_id}/{sample}" for sample in range(n))
        requests.append(Request(tuple(token_ids), keys, max_tokens))
    return requests


def shard_problems(problems: pl.DataFrame, shard: int, shard_size: int) -> pl.DataFrame:
    """Return the problems of one shard, by position.

    Raises:
        UserError: the shard has no problems.
    """
    members = problems.filter(pl.col("position") // shard_size == shard).sort("position")
    if members.is_empty():
        raise UserError(f"shard {shard} does not exist: the data set has only {len(problems)} problems")
    return members


def sample_responses(
    engine: Engine, requests: Sequence[Request], sampling: Sampling, seed: int
) -> list[list[Completion]]:
    """Return the completions of every request, in the order of the requests."""
    progress = Progress(sum(len(request.keys) for request in requests), "responses", "sample_rollouts")
    responses: list[list[Completion]] = [[] for _ in requests]
    for index, completions in engine.generate(requests, sampling, seed):
        responses[index] = completions
        progress.advance(len(completions))
    return responses
