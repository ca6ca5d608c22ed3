"""The exact value function of the reference tasks' demonstrators, by following every choice they leave to chance."""

from collections.abc import Iterator
from typing import Any

from workflow_scripts.lib.reference.tasks import SOLVERS, Options, Problem


def all_solutions(problem: Problem) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Every solution the demonstrator can write, paragraph by paragraph, with its probability; they sum to one."""
    pending: list[tuple[int, ...]] = [()]
    while pending:
        path = pending.pop()
        probability, taken = 1.0, 0

        def choose(options: Options, path: tuple[int, ...] = path) -> Any:
            nonlocal probability, taken
            index = path[taken] if taken < len(path) else 0
            if taken >= len(path):
                prefix = (*path, *([0] * (taken - len(path))))
                pending.extend((*prefix, other) for other in range(1, len(options)) if options[other][0] > 0)
            taken += 1
            probability *= options[index][0]
            return options[index][1]

        paragraphs = tuple(SOLVERS[problem.task](problem, choose))
        if probability > 0:
            yield probability, paragraphs


def is_right(paragraphs: tuple[str, ...], gold: str) -> bool:
    """Whether the solution ends in the right box."""
    return f"\\boxed{{{gold}}}" in paragraphs[-1]


def exact_values(problem: Problem) -> dict[tuple[str, ...], tuple[float, float]]:
    """The demonstrator's value function: for every prefix of paragraphs, (its probability, chance of a right answer).

    The value is that of the text alone, summed over all choices that lead to the same words.
    """
    mass: dict[tuple[str, ...], list[float]] = {}
    for probability, paragraphs in all_solutions(problem):
        right = is_right(paragraphs, problem.gold)
        for k in range(len(paragraphs) + 1):
            entry = mass.setdefault(paragraphs[:k], [0.0, 0.0])
            entry[0] += probability
            entry[1] += probability * right
    return {prefix: (total, good / total) for prefix, (total, good) in mass.items()}
