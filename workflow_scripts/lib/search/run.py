"""Answer problems by every method of a search, and reuse a search of an earlier run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from workflow_scripts.lib.engines.interface import Completion, Sampling
from workflow_scripts.lib.grading.answers import Grade
from workflow_scripts.lib.grading.responses import ResponseGrader
from workflow_scripts.lib.progress import Progress
from workflow_scripts.lib.search.answer_tables import Tables
from workflow_scripts.lib.search.guided import Draws, Found, Prompt, greedy, guided, regroup
from workflow_scripts.lib.search.methods import GUIDED, METHODS
from workflow_scripts.lib.search.scorers import SCORERS, Scoring
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
) -> dict[str, Found]:
    """What every method finds, in the order of `METHODS`."""
    found: dict[str, Found] = {}
    progress = Progress(len(methods), "methods", "guide_search")
    whole: tuple[list[list[Completion]], float] | None = None
    for method in sorted(methods, key=METHODS.index):
        if method in GUIDED:
            found[method] = guided(draws, prompts, SCORERS[method](scoring, draws.seed), n, sampling)
        elif method == "greedy":
            found[method] = greedy(draws, prompts, sampling)
        else:
            guide = found.get("dopamine")
            spent = {one.problem_id: one.tokens for one in guide.answers} if guide else None
            whole = whole or draw_whole(draws, prompts, spent, n, sampling)
            if method == "majority":
                found[method] = majority(prompts, *whole, grade)
            else:
                found[method] = best_of_n(prompts, *whole, scoring.probes["value_probes"], scoring.reading)
        progress.advance()
    return found


def chosen_problems(problems: pl.DataFrame, n: int | None) -> pl.DataFrame:
    """The first `n` validation problems (None: all), in the order of the data set."""
    found = problems.filter(pl.col("split") == "validation").sort("position")
    return found if n is None else found.head(n)


def whole_grader(grader: ResponseGrader, tokenizer: Any) -> GradeWhole:
    """Grade several responses to each of some problems."""

    def grade(ids: Sequence[str], responses: Sequence[Sequence[Completion]]) -> list[list[Grade]]:
        asked = [
            (problem_id, one.token_ids, one.finish_reason)
            for problem_id, several in zip(ids, responses, strict=True)
            for one in several
        ]
        grades = list(grader.grade(asked, tokenizer))
        return regroup(grades, responses)

    return grade


def rewards_of(result: Found, grade: GradeWhole) -> list[int]:
    """The rewards of a method's responses."""
    responses = [[Completion(list(one.token_ids), [], one.finish_reason)] for one in result.answers]
    return [graded[0].reward for graded in grade([one.problem_id for one in result.answers], responses)]


def stored(answers: Path, candidates: Path) -> dict[str, Tables]:
    """Read the tables of an earlier run, by their origin; both must be of the same one."""
    (origin,) = {read_about(path, ["origin"])["origin"] for path in (answers, candidates)}
    return {origin: (read_parquet(answers), read_parquet(candidates))}
