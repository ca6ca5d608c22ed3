"""Pick among whole responses that cost the same number of tokens as a guided search (method, section 9)."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from workflow_scripts.lib.engines.interface import Completion, Request, Sampling
from workflow_scripts.lib.grading.answers import Grade, parse_integer
from workflow_scripts.lib.probes.perceptrons import Probes
from workflow_scripts.lib.search.guided import Draws, MethodResult, Prompt, cost_of, picked, regroup
from workflow_scripts.lib.search.step_scores import StateReader, value_scores

GradeWhole = Callable[[Sequence[str], Sequence[Sequence[Completion]]], list[list[Grade]]]
"""From problem ids and the responses of each to their grades."""


def within(completions: Sequence[Completion], budget: int) -> int:
    """Count how many responses, from the first on, cost at most `budget` tokens together; at least 1."""
    spent = np.cumsum([cost_of(one) for one in completions])
    return max(int((spent <= budget).sum()), 1)


def whole_responses(
    draws: Draws, prompts: Sequence[Prompt], budgets: Sequence[int], sampling: Sampling, first: int
) -> tuple[list[list[Completion]], float]:
    """Draw responses to each problem while their tokens stay within its budget, at least one; also return the seconds.

    The `first` ones are drawn together, then the number that should fit. Responses beyond the budget are dropped (and
    cut as soon as they exceed it): which responses are kept depends only on the budget.
    """
    drawn: list[list[Completion]] = [[] for _ in prompts]
    total = 0.0
    open_ = list(range(len(prompts)))
    while open_:
        requests = [whole_request(prompts[i], drawn[i], budgets[i], sampling.max_tokens, first) for i in open_]
        new, seconds = draws.take(requests, sampling)
        total += seconds
        for i, completions in zip(open_, new, strict=True):
            drawn[i] += completions
        open_ = [i for i in open_ if sum(map(cost_of, drawn[i])) < budgets[i]]
    kept = [responses[: within(responses, budget)] for responses, budget in zip(drawn, budgets, strict=True)]
    return kept, total


def whole_request(prompt: Prompt, so_far: Sequence[Completion], budget: int, max_tokens: int, first: int) -> Request:
    """Return the request for the next responses to a problem, their streams named by their numbers."""
    spent, begin = sum(map(cost_of, so_far)), len(so_far)
    count = max(1, (budget - spent) * begin // spent) if begin else first
    keys = tuple(f"search/{prompt.problem_id}/whole/{number}" for number in range(begin, begin + count))
    # one token more than is left distinguishes a response that ends in time from one that does not
    return Request(prompt.token_ids, keys, min(max_tokens, budget - spent + 1) if begin else max_tokens)


def draw_whole(
    draws: Draws, prompts: Sequence[Prompt], spent: dict[str, int] | None, n: int, sampling: Sampling
) -> tuple[list[list[Completion]], float]:
    """Draw whole responses for the number of tokens that were `spent` on each problem; without that, `n` of them."""
    if spent is not None:
        return whole_responses(
            draws, prompts, [spent[prompt.problem_id] for prompt in prompts], sampling, max(1, n - 1)
        )
    requests = [
        Request(p.token_ids, tuple(f"search/{p.problem_id}/whole/{k}" for k in range(n)), sampling.max_tokens)
        for p in prompts
    ]
    return draws.take(requests, sampling)


def votes(answers: Sequence[str | None]) -> list[float]:
    """Count for each response how many responses give the same answer; 0 for one that gives none."""
    counts = Counter(answer for answer in answers if answer is not None)
    return [float(counts[answer]) if answer is not None else 0.0 for answer in answers]


def spelt(grade: Grade) -> str | None:
    """Normalise an answer for counting: integers by value, other answers by text; None if it did not parse."""
    if grade.answer is None or grade.reason is not None:
        return None
    number = parse_integer(grade.answer)
    return " ".join(grade.answer.split()) if number is None else str(number)


def best_of_n(
    prompts: Sequence[Prompt],
    drawn: Sequence[Sequence[Completion]],
    seconds: float,
    probes: Probes | None,
    reader: StateReader | None,
) -> MethodResult:
    """Pick the response with the highest V(s_T)."""
    assert probes is not None and reader is not None
    start = time.perf_counter()
    pairs = [
        (p.token_ids, tuple(one.token_ids)) for p, responses in zip(prompts, drawn, strict=True) for one in responses
    ]
    scores = regroup(value_scores(pairs, probes, reader), drawn)
    return picked(prompts, drawn, scores, seconds + time.perf_counter() - start)


def majority(
    prompts: Sequence[Prompt], drawn: Sequence[Sequence[Completion]], seconds: float, grade: GradeWhole
) -> MethodResult:
    """Pick a response with the most frequent answer; of equally frequent ones, the first that occurs."""
    start = time.perf_counter()
    graded = grade([prompt.problem_id for prompt in prompts], drawn)
    scores = [votes([spelt(one) for one in grades]) for grades in graded]
    return picked(prompts, drawn, scores, seconds + time.perf_counter() - start)
