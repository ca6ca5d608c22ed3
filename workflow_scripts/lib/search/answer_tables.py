"""The tables of a search: responses, and all candidates with their scores."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from workflow_scripts.lib.models.tokens import response_text
from workflow_scripts.lib.search.guided import MethodResult
from workflow_scripts.lib.search.methods import METHODS

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "method": pl.String,
    "problem_id": pl.String,
    "seed": pl.Int64,
    "token_ids": pl.List(pl.Int32),
    "text": pl.String,
    "reward": pl.Int8,
    "finish_reason": pl.String,
    "tokens": pl.Int64,
    "steps": pl.Int64,
    "drawn": pl.Int64,
    "seconds": pl.Float64,
    "scores": pl.List(pl.Float64),
}
CANDIDATES: dict[str, pl.DataType | type[pl.DataType]] = {
    "method": pl.String,
    "problem_id": pl.String,
    "step": pl.Int64,
    "candidate": pl.Int64,
    "token_ids": pl.List(pl.Int32),
    "text": pl.String,
    "score": pl.Float64,
    "chosen": pl.Boolean,
    "finish_reason": pl.String,
}

Tables = tuple[pl.DataFrame, pl.DataFrame]
"""The responses and the candidates."""


def tabulate(results: dict[str, MethodResult], rewards: dict[str, list[int]], seed: int, tokenizer: Any) -> Tables:
    """Tabulate the responses and the candidates of methods, by problem."""
    rows, drawn = [], []
    for method, result in results.items():
        seconds = result.seconds / max(len(result.answers), 1)
        for one, reward in zip(result.answers, rewards[method], strict=True):
            text = response_text(one.token_ids, tokenizer)
            figures = (reward, one.finish_reason, one.tokens, one.steps, one.drawn, seconds, one.scores)
            rows.append((method, one.problem_id, seed, one.token_ids, text, *figures))
        for other in result.candidates:
            named, text = (other.problem_id, other.step, other.number), response_text(other.token_ids, tokenizer)
            drawn.append((method, *named, other.token_ids, text, other.score, other.chosen, other.finish_reason))
    return joined(
        [(pl.DataFrame(rows, schema=SCHEMA, orient="row"), pl.DataFrame(drawn, schema=CANDIDATES, orient="row"))]
    )


def joined(tables: Sequence[Tables]) -> Tables:
    """Join the tables of several methods, in the order of the catalogue."""
    place = pl.col("method").replace_strict({name: k for k, name in enumerate(METHODS)}, return_dtype=pl.Int64)
    answers, candidates = (pl.concat(parts) for parts in zip(*tables, strict=True))
    return answers.sort(place, "problem_id"), candidates.sort(place, "problem_id", "step", "candidate")
