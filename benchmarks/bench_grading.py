"""Grading of recorded GSM8K answers by real models: seconds for 10,000 of them.

Usage: python -m benchmarks.bench_grading [--recorded ../shared/data] [--workers 2]
The folder has gsm8k_test, rollouts_gsm8k_greedy and gsm8k_openai_model_solutions as .jsonl.gz.
"""

import argparse
import time
from pathlib import Path

from benchmarks.timing import machine
from workflow_scripts.lib.grading.grade import Answer, Grader, grade_all
from workflow_scripts.lib.problems.records import file_records

WANTED = 10_000
NAMES = ("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification")


def recorded(folder: Path) -> list[Answer]:
    """Read the first 10,000 recorded answers, each with its correct answer."""
    golds = [one["answer"].rpartition("####")[2].strip() for _, one in file_records(folder / "gsm8k_test.jsonl.gz")]
    pairs = [(r["response"][0], golds[r["idx"]]) for _, r in file_records(folder / "rollouts_gsm8k_greedy.jsonl.gz")]
    solved = [r for _, r in file_records(folder / "gsm8k_openai_model_solutions.jsonl.gz")]
    pairs += [(r[name]["solution"], gold) for r, gold in zip(solved, golds, strict=True) for name in NAMES]
    return [Answer(text, gold) for text, gold in pairs[:WANTED]]


def main() -> None:
    """Grade once, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recorded", type=Path, default=Path("../shared/data"))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    answers = recorded(arguments.recorded)
    start = time.monotonic()
    grades = list(grade_all(answers, Grader("math"), arguments.workers))
    seconds = time.monotonic() - start
    print(machine())
    rate = len(grades) / seconds
    print(f"{len(grades)} answers in {seconds:.1f} s with {arguments.workers} workers: {rate:.0f} a second")


if __name__ == "__main__":
    main()
