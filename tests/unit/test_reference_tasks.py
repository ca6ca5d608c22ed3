"""The generated tasks: disjoint splits, stable streams, and demonstrators whose value function is known exactly."""

import re
from collections import Counter

import numpy as np
import pytest

from workflow_scripts.lib.grading import grade
from workflow_scripts.lib.reference_tasks import (
    TASKS,
    Problem,
    all_solutions,
    carry,
    demonstrate,
    exact_values,
    generate_problems,
    is_right,
)
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics import wilson


def solve_by_force(problem: Problem) -> set[str]:
    """Every answer that the words of the question allow, found without the generator's own code."""
    numbers = [int(n) for n in re.findall(r"\d+", problem.question)]
    if problem.task == "ledger":
        signs = [1 if word == "put in" else -1 for word in re.findall(r"put in|taken out", problem.question)]
        return {str(numbers[0] + signs[0] * numbers[1] + signs[1] * numbers[2])}
    if problem.task == "locks":
        low, high, *sums, _ = numbers
        pairs = [(0, 1), (1, 2), (2, 3), (1, 3)]
        codes = (f"{code:04d}" for code in range(1000, 10000))
        return {
            code
            for code in codes
            if low <= int(code[0]) <= high
            and all(int(code[i]) + int(code[j]) == total for (i, j), total in zip(pairs, sums, strict=True))
        }
    start, goal, *doors, _ = re.findall(r"\d+", problem.question)
    return {start + door[1] + goal for door in doors if door[0] == start and door[1] + goal in doors}


@pytest.mark.parametrize("task", TASKS)
def test_the_gold_answer_is_the_only_one_that_the_words_allow(task: str) -> None:
    for problem in generate_problems(task, "evaluation", 40, seed=3):
        assert solve_by_force(problem) == {problem.gold}


@pytest.mark.parametrize("task", TASKS)
def test_splits_are_disjoint_and_streams_only_grow(task: str) -> None:
    training = [p.question for p in generate_problems(task, "training", 150, seed=0)]
    held_out = [p.question for p in generate_problems(task, "evaluation", 150, seed=0)]
    assert len(set(training)) == len(set(held_out)) == 150
    assert not set(training) & set(held_out)
    assert [p.question for p in generate_problems(task, "training", 50, seed=0)] == training[:50]
    assert [p.question for p in generate_problems(task, "training", 50, seed=1)] != training[:50]


@pytest.mark.parametrize("task", TASKS)
def test_the_length_of_a_question_does_not_tell_its_difficulty(task: str) -> None:
    lengths: dict[str, list[int]] = {}
    for problem in generate_problems(task, "evaluation", 200, seed=5):
        lengths.setdefault(problem.difficulty, []).append(len(re.findall(r"\w+", problem.question)))
    assert len(lengths) == 3
    assert np.ptp([np.mean(values) for values in lengths.values()]) < 0.5


@pytest.mark.parametrize("task", TASKS)
def test_exact_values_are_the_shares_that_sampling_finds(task: str) -> None:
    rng = generator(0, "test of exact values", task)
    misses = checked = 0
    for problem in generate_problems(task, "evaluation", 6, seed=7):
        values = exact_values(problem)
        reached: Counter[tuple[str, ...]] = Counter()
        right: Counter[tuple[str, ...]] = Counter()
        for _ in range(400):
            paragraphs = tuple(demonstrate(problem, rng).split("\n\n"))
            for k in range(len(paragraphs) + 1):
                reached[paragraphs[:k]] += 1
                right[paragraphs[:k]] += is_right(paragraphs, problem.gold)
        for prefix, count in reached.items():
            assert prefix in values
            low, high = wilson(right[prefix], count)
            misses += not low - 1e-9 <= values[prefix][1] <= high + 1e-9
            checked += 1
    assert checked > 50
    assert misses / checked < 0.12  # nominally 0.05; prefixes of one problem are not independent


@pytest.mark.parametrize("task", TASKS)
def test_probabilities_sum_to_one_and_values_average_over_what_follows(task: str) -> None:
    problem = generate_problems(task, "evaluation", 5, seed=11)[4]
    assert sum(p for p, _ in all_solutions(problem)) == pytest.approx(1)
    values = exact_values(problem)
    children: dict[tuple[str, ...], float] = {}
    for prefix, (mass, value) in values.items():
        if prefix:
            children[prefix[:-1]] = children.get(prefix[:-1], 0.0) + mass * value
    for prefix, total in children.items():
        assert total == pytest.approx(values[prefix][0] * values[prefix][1])


def test_a_solution_is_graded_by_its_last_box() -> None:
    rng = generator(0, "test of grading")
    for task in TASKS:
        for problem in generate_problems(task, "evaluation", 20, seed=13):
            text = demonstrate(problem, rng)
            right = is_right(tuple(text.split("\n\n")), problem.gold)
            assert grade(text, problem.gold, "boxed_integer").reward == int(right)


def test_carries_and_borrows() -> None:
    assert carry(47, 1, 28) and carry(63, -1, 28) and list(carry(np.array([47, 41]), 1, 28)) == [True, False]
    assert not carry(41, 1, 28) and not carry(68, -1, 28)
