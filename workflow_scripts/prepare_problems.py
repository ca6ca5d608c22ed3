"""Rule `prepare_problems`: the problems of one shard, numbered, and divided into training and validation part.

The part depends on the problem's id alone, so that a data set can grow without moving a problem (method, section 1).
The source is read whole, whichever the shard: a malformed record or an id that occurs twice is an error wherever it is.
"""

import argparse
import json
import sys
from collections.abc import Sequence

import polars as pl

from workflow_scripts.lib.config.sections import Dataset, Split, load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.problems.readers import Problem, content, read_problems
from workflow_scripts.lib.seeds import uniform
from workflow_scripts.lib.storage.identity import table_metadata
from workflow_scripts.lib.storage.tables import write_parquet

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


def reference_problems(dataset: Dataset) -> list[Problem]:
    """Held-out problems of a task of the reference models."""
    from workflow_scripts.lib.reference.tasks import generate_problems

    made = generate_problems(str(dataset.task), "evaluation", dataset.n_problems, REFERENCE_SEED)
    names = [f"{dataset.key}-{number:06d}" for number in range(len(made))]
    return [Problem(name, one.question, one.gold, None, name) for name, one in zip(names, made, strict=True)]


def check_instructions(problems: Sequence[Problem]) -> None:
    """See that every instruction of every problem has a checker.

    Raises:
        UserError: one has none.
    """
    from workflow_scripts.lib.grading.instructions import check_ids

    for problem in problems:
        try:
            check_ids(json.loads(problem.spec or "{}")["ids"])
        except UserError as error:
            raise UserError(f"{problem.place}: {error}") from error


def check_content(problems: Sequence[Problem], dataset: Dataset) -> str:
    """The hash of all problems of the source, used or not.

    Raises:
        UserError: it is not the one that the configuration promises.
    """
    found = content(problems)
    if dataset.content is not None and found != dataset.content:
        raise UserError(
            f"datasets.{dataset.key}.content: {dataset.content} is not the hash of its {len(problems)} problems, "
            f"which is {found}; the source or fields have changed: correct it once you know why"
        )
    return found


def part(problem_id: str, split: Split) -> str:
    """`train` or `validation`, a pure function of the id and the split's seed."""
    return "train" if uniform(split.seed, "split", problem_id) < split.train_ratio else "validation"


def tabulate(problems: Sequence[Problem], split: Split) -> pl.DataFrame:
    """One row per problem, in order."""
    rows = [
        (one.problem_id, position, one.question, one.gold, one.spec, one.place, part(one.problem_id, split))
        for position, one in enumerate(problems)
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: dataset (its n_problems ends with the shard), split")
    parser.add_argument("--records", help="the file of a data set with `source: file`")
    parser.add_argument("--shard", required=True, type=int)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    dataset = params.dataset
    if dataset.source == "reference":
        problems = reference_problems(dataset)
    else:
        problems = read_problems(params.raw["dataset"], arguments.records)
    found = check_content(problems, dataset)
    print(f"prepare_problems: {len(problems)} problems in {dataset.key}, content {found}", file=sys.stderr)
    if dataset.answer == "instructions":
        check_instructions(problems)
    start = arguments.shard * dataset.shard_size
    about = table_metadata("problems", {"dataset": dataset.key}, shard=arguments.shard)
    recorded = about | {"content": content(problems[start : dataset.n_problems])}
    write_parquet(tabulate(problems[: dataset.n_problems], params.split)[start:], arguments.output, recorded)


if __name__ == "__main__":
    run_main(main)
