"""Picking among whole responses that cost as many tokens as a guided search (method, section 9)."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from workflow_scripts.lib.engines.interface import Completion, Request, Sampling
from workflow_scripts.lib.grading.answers import Grade, parse_integer
from workflow_scripts.lib.probes.perceptrons import Probes
from workflow_scripts.lib.search.guided import Draws, Found, Prompt, cost_of, picked, regroup
from workflow_scripts.lib.search.step_scores import Reading, value_scores

GradeWhole = Callable[[Sequence[str], Sequence[Sequence[Completion]]], list[list[Grade]]]
"""From problem ids and the responses of each to their grades."""


def within(several: Sequence[Completion], budget: int) -> int:
    """How many responses, from the first on, cost no more than `budget` tokens together; at least 1."""
    spent = np.cumsum([cost_of(one) for one in several])
    return max(int((spent <= budget).sum()), 1)


def whole_responses(
    draws: Draws, prompts: Sequence[Prompt], budgets: Sequence[int], sampling: Sampling, first: int
) -> tuple[list[list[Completion]], float]:
    """Responses to each problem as long as their tokens stay within its budget, at least one; and the seconds.

    The `first` ones are drawn together, then as many as should fit. What is drawn beyond the budget is dropped (and cut
    as soon as it is beyond): which responses are kept depends on the budget alone.
    """
    drawn: list[list[Completion]] = [[] for _ in prompts]
    total = 0.0
    open_ = list(range(len(prompts)))
    while open_:
        wanted = [whole_request(prompts[i], drawn[i], budgets[i], sampling.max_tokens, first) for i in open_]
        found, seconds = draws.take(wanted, sampling)
        total += seconds
        for place, several in zip(open_, found, strict=True):
            drawn[place] += several
        open_ = [i for i in open_ if sum(map(cost_of, drawn[i])) < budgets[i]]
    return [several[: within(several, budget)] for several, budget in zip(drawn, budgets, strict=True)], total


def whole_request(prompt: Prompt, so_far: Sequence[Completion], budget: int, max_tokens: int, first: int) -> Request:
    """The next responses to a problem, their streams named by their numbers."""
    spent, begin = sum(map(cost_of, so_far)), len(so_far)
    count = max(1, (budget - spent) * begin // spent) if begin else first
    keys = tuple(f"search/{prompt.problem_id}/whole/{number}" for number in range(begin, begin + count))
    # one token more than is left tells a response that ends in time from one that does not
    return Request(prompt.token_ids, keys, min(max_tokens, budget - spent + 1) if begin else max_tokens)


def draw_whole(
    draws: Draws, prompts: Sequence[Prompt], spent: dict[str, int] | None, n: int, sampling: Sampling
) -> tuple[list[list[Completion]], float]:
    """Whole responses for as many tokens as were `spent` on each problem; without that, `n` of them."""
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
    """How many of the responses give the answer that each gives; 0 for one that gives none."""
    counts = Counter(answer for answer in answers if answer is not None)
    return [float(counts[answer]) if answer is not None else 0.0 for answer in answers]


def spelt(grade: Grade) -> str | None:
    """An answer as it is counted: integers by their value, other answers by their text; None if it did not parse."""
    if grade.answer is None or grade.reason is not None:
        return None
    number = parse_integer(grade.answer)
    return " ".join(grade.answer.split()) if number is None else str(number)


def best_of_n(
    prompts: Sequence[Prompt],
    drawn: Sequence[Sequence[Completion]],
    seconds: float,
    probes: Probes | None,
    reading: Reading | None,
) -> Found:
    """The response with the highest V(s_T)."""
    assert probes is not None and reading is not None
    start = time.perf_counter()
    pairs = [(p.token_ids, tuple(one.token_ids)) for p, several in zip(prompts, drawn, strict=True) for one in several]
    scores = regroup(value_scores(pairs, probes, reading), drawn)
    return picked(prompts, drawn, scores, seconds + time.perf_counter() - start)


def majority(
    prompts: Sequence[Prompt], drawn: Sequence[Sequence[Completion]], seconds: float, grade: GradeWhole
) -> Found:
    """A response with the most frequent answer: the first with the answer that is met first among those."""
    start = time.perf_counter()
    graded = grade([prompt.problem_id for prompt in prompts], drawn)
    scores = [votes([spelt(one) for one in several]) for several in graded]
    return picked(prompts, drawn, scores, seconds + time.perf_counter() - start)
