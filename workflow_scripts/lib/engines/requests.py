"""Turn problems into requests for an engine."""

from typing import Any

import polars as pl

from workflow_scripts.lib.engines.interface import Request
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.models.load import ModelConfig, read_architecture
from workflow_scripts.lib.models.prompts import PLAIN, Wording, build_prompt


def build_requests(
    problems: pl.DataFrame, model: ModelConfig, tokenizer: Any, n: int, max_tokens: int, wording: Wording = PLAIN
) -> list[Request]:
    """One request per problem with `n` keys.

    Raises:
        UserError: a prompt is empty or leaves no room in the model's context.
    """
    context = read_architecture(model.path, model.revision).context
    requests = []
    for problem_id, question, place in problems.select("problem_id", "question", "place").iter_rows():
        token_ids = build_prompt(question, model, tokenizer, wording)
        if not token_ids:
            raise UserError(f"{place}: the prompt has no tokens; mend the question")
        if context is not None and len(token_ids) >= context:
            raise UserError(
                f"{place}: the prompt has {len(token_ids)} tokens, but model {model.key} reads {context}; "
                "shorten or remove the problem"
            )
        keys = tuple(f"{problem_id}/{sample}" for sample in range(n))
        requests.append(Request(tuple(token_ids), keys, max_tokens))
    return requests
