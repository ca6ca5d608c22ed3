"""Prepare the problems of a data set: source, content hash, split."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.problems.readers import Problem, content
from workflow_scripts.lib.seeds import uniform

REFERENCE_SEED = 0
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "problem_id": pl.String,
    "position": pl.Int64,
    "question": pl.String,
    "gold": pl.String,
    "spec": pl.String,
    "place": pl.String,
    "split": pl.String,
}


def reference_problems(dataset: Mapping[str, Any]) -> list[Problem]:
    """Generate held-out problems of a task of the reference models."""
    from workflow_scripts.lib.reference.tasks import generate_problems

    generated = generate_problems(str(dataset["task"]), "evaluation", dataset["n_problems"], REFERENCE_SEED)
    names = [f"{dataset['key']}-{number:06d}" for number in range(len(generated))]
    return [Problem(name, one.question, one.gold, None, name) for name, one in zip(names, generated, strict=True)]


def check_instructions(problems: Sequence[Problem]) -> None:
    """Raise unless every instruction of every problem has a checker.

    Raises:
        UserError: one has none.
    """
    from workflow_scripts.lib.grading.instructions import check_ids

    for problem in problems:
        try:
            check_ids(json.loads(problem.spec or "{}")["ids"])
        except UserError as error:
            raise UserError(f"{problem.place}: {error}") from error


def check_content(problems: Sequence[Problem], dataset: Mapping[str, Any]) -> str:
    """Return the hash of all problems of the source, used or not; raise unless it is the configured one.

    Raises:
        UserError: the configuration states another hash.
    """
    actual = content(problems)
    if dataset["content"] is not None and actual != dataset["content"]:
        raise UserError(
            f"datasets.{dataset['key']}.content: {dataset['content']} is not the hash of its {len(problems)} problems, "
            f"which is {actual}; the source or fields have changed: correct it once you know why"
        )
    return actual


def part(problem_id: str, split: Any) -> str:
    """Return `train` or `validation`, a pure function of the id and the split's seed."""
    return "train" if uniform(split.seed, "split", problem_id) < split.train_ratio else "validation"


def tabulate(problems: Sequence[Problem], split: Any) -> pl.DataFrame:
    """Build a table with one row per problem, in order."""
    rows = [
        (one.problem_id, position, one.question, one.gold, one.spec, one.place, part(one.problem_id, split))
        for position, one in enumerate(problems)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")
