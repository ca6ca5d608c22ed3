"""Rule `prepare_problems`: the problems of a data set, numbered, and divided into training and validation part.

The part depends on the problem's id alone, so that a data set can grow without moving a problem (method, section 1).
"""

import argparse
from collections.abc import Sequence

import polars as pl

from workflow_scripts.lib.config import Dataset, Split, load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.records import read_records
from workflow_scripts.lib.seeds import uniform
from workflow_scripts.lib.tables import write_parquet

REFERENCE_SEED = 0
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "problem_id": pl.String,
    "position": pl.Int64,
    "question": pl.String,
    "gold": pl.String,
    "split": pl.String,
}

Problem = tuple[str, str, str]
"""Id, question and right answer."""


def reference_problems(dataset: Dataset) -> list[Problem]:
    """Held-out problems of a task of the reference models."""
    from workflow_scripts.lib.reference_tasks import generate_problems

    made = generate_problems(str(dataset.task), "evaluation", dataset.n_problems, REFERENCE_SEED)
    return [(f"{dataset.key}-{i:06d}", problem.question, problem.gold) for i, problem in enumerate(made)]


def file_problems(dataset: Dataset) -> list[Problem]:
    """The first `n_problems` records of a file.

    Raises:
        UserError: the file cannot be read, a record is malformed, or there are too few.
    """
    records = read_records(str(dataset.path), dataset.fields, prefix=dataset.key)
    if len(records) < dataset.n_problems:
        raise UserError(
            f"{dataset.path}: holds {len(records)} records, but datasets.{dataset.key}.n_problems asks for "
            f"{dataset.n_problems}; lower it or add records"
        )
    return [(record.problem_id, record.question, record.gold) for record in records[: dataset.n_problems]]


def part(problem_id: str, split: Split) -> str:
    """`train` or `validation`, a pure function of the id and the split's seed."""
    return "train" if uniform(split.seed, "split", problem_id) < split.train_ratio else "validation"


def tabulate(problems: Sequence[Problem], split: Split) -> pl.DataFrame:
    """One row per problem, in order."""
    rows = [(i, n, question, gold, part(i, split)) for n, (i, question, gold) in enumerate(problems)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: dataset, split")
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    dataset = params.dataset
    problems = reference_problems(dataset) if dataset.source == "reference" else file_problems(dataset)
    write_parquet(tabulate(problems, params.split), arguments.output)


if __name__ == "__main__":
    run_main(main)
