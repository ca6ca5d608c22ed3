"""Rule `grade_rollouts`: which responses of one shard are right (method, sections 1 and 2)."""

import argparse
from collections.abc import Sequence

import polars as pl

from workflow_scripts.lib.config import load
from workflow_scripts.lib.errors import UserError, run_main
from workflow_scripts.lib.grading import Grade, grade
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.tables import read_parquet, write_parquet


def grade_samples(samples: pl.DataFrame, golds: dict[str, str], answer_type: str) -> list[Grade]:
    """One grade per row.

    Raises:
        UserError: a response belongs to no problem, or a right answer is not of the given type.
    """
    progress = Progress(len(samples), "responses", "grade_rollouts")
    grades = []
    for problem_id, text, finish_reason in samples.select("problem_id", "text", "finish_reason").iter_rows():
        if problem_id not in golds:
            raise UserError(f"samples: problem {problem_id} is not in the data set; delete the shard and run again")
        try:
            grades.append(grade(text, golds[problem_id], answer_type, truncated=finish_reason == "length"))
        except UserError as error:
            raise UserError(f"problem {problem_id}: {error}") from error
        progress.advance()
    return grades


def add_grades(samples: pl.DataFrame, grades: Sequence[Grade]) -> pl.DataFrame:
    """The samples with columns reward, truncated, answer and reason."""
    return samples.with_columns(
        pl.Series("reward", [one.reward for one in grades], dtype=pl.Int8),
        (pl.col("finish_reason") == "length").alias("truncated"),
        pl.Series("answer", [one.answer for one in grades], dtype=pl.String),
        pl.Series("reason", [one.reason for one in grades], dtype=pl.String),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", required=True, help="JSON: dataset (answer)")
    parser.add_argument("--samples", required=True)
    parser.add_argument("--problems", required=True)
    parser.add_argument("--output", required=True)
    arguments = parser.parse_args(argv)
    samples = read_parquet(arguments.samples)
    golds = dict(read_parquet(arguments.problems).select("problem_id", "gold").iter_rows())
    grades = grade_samples(samples, golds, load(arguments.params).dataset.answer)
    write_parquet(add_grades(samples, grades), arguments.output)


if __name__ == "__main__":
    run_main(main)
