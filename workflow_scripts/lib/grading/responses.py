"""Grade responses to the problems of a data set: the one path from token ids, or text, to a reward.

The whole response is graded, with the data set's `response_prefix`. A truncated response is incorrect, whatever it
says, so it is not even decoded (method, section 1).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.grading.answers import Grade
from workflow_scripts.lib.grading.grade import Answer, Grader, grade_all
from workflow_scripts.lib.models.tokens import response_text

Response = tuple[str, Sequence[int], str]
"""Problem id, token ids, finish reason."""


@dataclass(frozen=True)
class ResponseGrader:
    """Grades responses to one data set.

    `problems`: id -> the columns of the problem that the grader needs (`gold`, `spec`). `opening`: the beginning of
    every response. `workers`: processes that grade.
    """

    problems: dict[str, dict[str, Any]]
    opening: str
    grader: Grader
    workers: int = 1

    @classmethod
    def of(cls, problems: pl.DataFrame, dataset: Any, grading: Any, workers: int) -> "ResponseGrader":
        """Build from a problems table and the sections `dataset` (answer, response_prefix) and `grading`."""
        known = {row["problem_id"]: row for row in problems.select("problem_id", "gold", "spec").to_dicts()}
        return cls(known, dataset.response_prefix, Grader(dataset.answer, grading.allow_unsandboxed), workers)

    def answer(self, problem_id: str, text: str, finish_reason: str) -> Answer:
        """Return the answer to grade in a response.

        Raises:
            UserError: the response belongs to no problem.
        """
        if problem_id not in self.problems:
            raise UserError(f"problem {problem_id} is not in the data set; delete the shard and run again")
        problem = self.problems[problem_id]
        return Answer(self.opening + text, problem["gold"], problem["spec"], truncated=finish_reason != "stop")

    def grade(self, responses: Iterable[Response], tokenizer: Any) -> Iterator[Grade]:
        """Grade responses given as token ids, in their order.

        Raises:
            UserError: a response belongs to no problem; as `grade_all`.
        """
        return self.grade_texts(
            (problem_id, response_text(token_ids, tokenizer) if reason == "stop" else "", reason)
            for problem_id, token_ids, reason in responses
        )

    def grade_texts(self, responses: Iterable[tuple[str, str, str]]) -> Iterator[Grade]:
        """Grade responses given as problem id, text and finish reason, in their order.

        Raises:
            UserError: a response belongs to no problem; as `grade_all`.
        """
        return grade_all([self.answer(*response) for response in responses], self.grader, self.workers)
