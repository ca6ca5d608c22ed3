"""Rule `grade_rollouts`: grade the responses of one shard as correct or incorrect (method, sections 1 and 2).

To run it by hand on a table of responses with the columns problem_id, text and finish_reason ("stop" or "length"):

    python -m workflow_scripts.grade_rollouts --problems results/problems/gsm8k/*.parquet --samples mine.parquet \\
        --params '{"dataset": {"answer": "math", "response_prefix": ""}, "grading": {"allow_unsandboxed": false}}' \\
        --workers 2 --output graded.parquet
"""

import argparse
from collections.abc import Sequence

import polars as pl

from workflow_scripts.lib.config.sections import load
from workflow_scripts.lib.errors import run_main
from workflow_scripts.lib.grading.answers import Grade
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.storage.identity import same_run, table_metadata
from workflow_scripts.lib.storage.tables import read_parquet, write_parquet


def add_grades(samples: pl.DataFrame, grades: Sequence[Grade]) -> pl.DataFrame:
    """Add the columns reward, truncated, answer, reason and loose (null except for instructions)."""
    return samples.with_columns(
        pl.Series("reward", [grade.reward for grade in grades], dtype=pl.Int8),
        (pl.col("finish_reason") == "length").alias("truncated"),
        pl.Series("answer", [grade.answer for grade in grades], dtype=pl.String),
        pl.Series("reason", [grade.reason for grade in grades], dtype=pl.String),
        pl.Series("loose", [grade.loose for grade in grades], dtype=pl.Int8),
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and run the rule."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", required=True, help="JSON: dataset (answer, response_prefix), grading")
    parser.add_argument(
        "--samples", required=True, help="Parquet: problem_id, text, finish_reason, and any other columns"
    )
    parser.add_argument("--problems", required=True, help="Parquet, as prepare_problems writes it")
    parser.add_argument(
        "--shard", type=int, help="number of the shard that the samples must be; none for a table made by hand"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that grade")
    parser.add_argument("--output", required=True, help="Parquet: the samples with their grades")
    arguments = parser.parse_args(argv)
    params = load(arguments.params)
    by_hand = arguments.shard is None
    shard = {} if by_hand else {"shard": arguments.shard}
    identity = same_run(shard, by_hand, samples=arguments.samples, problems=arguments.problems)
    samples = read_parquet(arguments.samples, by_hand)
    problems = read_parquet(arguments.problems, by_hand)
    grader = ResponseGrader.of(problems, params.dataset, params.grading, arguments.workers)
    progress = Progress(len(samples), "responses", "grade_rollouts")
    grades = []
    for grade in grader.grade_texts(samples.select("problem_id", "text", "finish_reason").iter_rows()):
        grades.append(grade)
        progress.advance()
    graded = add_grades(samples, grades)
    write_parquet(graded, arguments.output, table_metadata("rollouts", identity, **shard))


if __name__ == "__main__":
    run_main(main)
