"""Answer problems by every method of a search, and reuse a search of an earlier run."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.engines.interface import Completion, Sampling
from workflow_scripts.lib.grading.answers import Grade
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.search.answer_tables import Tables
from workflow_scripts.lib.search.guided import Draws, MethodResult, Prompt, greedy, guided, regroup
from workflow_scripts.lib.search.methods import GUIDE, GUIDED, METHODS
from workflow_scripts.lib.search.scorers import CATALOGUE as SCORERS
from workflow_scripts.lib.search.scorers import Scoring
from workflow_scripts.lib.search.whole_responses import GradeWhole, best_of_n, draw_whole, majority
from workflow_scripts.lib.storage.tables import read_about, read_parquet


def search(
    methods: Sequence[str],
    draws: Draws,
    prompts: Sequence[Prompt],
    scoring: Scoring,
    n: int,
    sampling: Sampling,
    grade: GradeWhole,
    spent: dict[str, int] | None = None,
) -> dict[str, MethodResult]:
    """Answer the problems by every method; return method -> result, in the order of `METHODS`.

    Methods of kind `whole` pick among the same responses, which are drawn once, for the tokens that `dopamine` spends
    here, or has `spent` on each problem; without that method, `n` of them.
    """
    results: dict[str, MethodResult] = {}
    progress = Progress(len(methods), "methods", "guide_search")

    @cache
    def whole_responses() -> tuple[list[list[Completion]], float]:
        guide = results.get(GUIDE)  # it runs before every method of kind `whole`
        budgets = {answer.problem_id: answer.tokens for answer in guide.answers} if guide else spent
        return draw_whole(draws, prompts, budgets, n, sampling)

    for method in sorted(methods, key=METHODS.index):
        if method in GUIDED:
            results[method] = guided(draws, prompts, SCORERS[method](scoring, draws.seed), n, sampling)
        elif method == "greedy":
            results[method] = greedy(draws, prompts, sampling)
        elif method == "majority":
            results[method] = majority(prompts, *whole_responses(), grade)
        else:
            probes = scoring.probes["value_probes"]
            results[method] = best_of_n(prompts, *whole_responses(), probes, scoring.reader)
        progress.advance()
    return results


def chosen_problems(problems: pl.DataFrame, n: int | None) -> pl.DataFrame:
    """Return the first `n` validation problems (None: all), in the order of the data set."""
    validation = problems.filter(pl.col("split") == "validation").sort("position")
    return validation if n is None else validation.head(n)


def whole_grader(grader: ResponseGrader, tokenizer: Any) -> GradeWhole:
    """Return a function that grades several responses to each of some problems."""

    def grade(ids: Sequence[str], responses: Sequence[Sequence[Completion]]) -> list[list[Grade]]:
        asked = [
            (problem_id, one.token_ids, one.finish_reason)
            for problem_id, completions in zip(ids, responses, strict=True)
            for one in completions
        ]
        grades = list(grader.grade(asked, tokenizer))
        return regroup(grades, responses)

    return grade


def rewards_of(result: MethodResult, grade: GradeWhole) -> list[int]:
    """Grade a method's responses and return their rewards."""
    responses = [[Completion(list(one.token_ids), [], one.finish_reason)] for one in result.answers]
    return [graded[0].reward for graded in grade([one.problem_id for one in result.answers], responses)]


def stored(answers: Path, candidates: Path) -> dict[str, Tables]:
    """Read the tables of an earlier run, of each method by its origin; nothing if both have not the same origins."""
    origins, others = (read_about(path, ["origins"])["origins"] for path in (answers, candidates))
    found, drawn = read_parquet(answers), read_parquet(candidates)
    of = {name: pl.col("method") == name for name in origins}
    return {origins[name]: (found.filter(one), drawn.filter(one)) for name, one in of.items() if origins == others}
