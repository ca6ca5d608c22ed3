"""The generated tasks: disjoint splits, stable streams, and demonstrators whose value function is known exactly."""

import itertools
import re
from collections import Counter

import numpy as np
import pytest
from exact_values import all_solutions, exact_values, is_right

from workflow_scripts.lib.grading.grade import Answer, Grader, grade
from workflow_scripts.lib.reference import tasks
from workflow_scripts.lib.reference.tasks import (
    TASKS,
    Problem,
    carries,
    demonstrate,
    generate_problems,
    keeps_to_its_tries,
)
from workflow_scripts.lib.seeds import generator
from workflow_scripts.lib.statistics.intervals import wilson


def solve_by_force(problem: Problem) -> set[str]:
    """Every answer that the words of the question allow, found without the generator's own code."""
    numbers = [int(n) for n in re.findall(r"\d+", problem.question)]
    if problem.task == "ledger":
        start, first, second, ways, last, _ = numbers
        signs = [
            {"added": [1], "taken": [-1], "moved": [1, -1]}[v]
            for v in re.findall("added|taken|moved", problem.question)
        ]
        ends = [start + a * first + b * second for a, b in itertools.product(*signs)]
        assert len(ends) == ways
        return {str(end) for end in ends if end % 10 == last}
    if problem.task == "locks":
        candidates, low, high, *sums, _ = numbers
        assert high - low + 1 == candidates
        pairs = [(0, 1), (1, 2), (2, 3), (1, 3)]
        codes = (f"{code:04d}" for code in range(1000, 10000))
        return {
            code
            for code in codes
            if low <= int(code[0]) <= high
            and all(int(code[i]) + int(code[j]) == total for (i, j), total in zip(pairs, sums, strict=True))
        }
    doors = re.findall(r"\b(\d)(\d)\b", problem.question)
    start, ways, goal, _ = re.findall(r"\d+", problem.question)[-4:]
    assert sum(a == start for a, _ in doors) == int(ways) and len(doors) == 8
    return {start + b + goal for a, b in doors if a == start and (b, goal) in doors}


@pytest.mark.parametrize("task", TASKS)
def test_the_gold_answer_is_the_only_one_that_the_words_allow(task: str) -> None:
    for problem in generate_problems(task, "evaluation", 40, seed=3):
        assert solve_by_force(problem) == {problem.gold}


@pytest.mark.parametrize("task", TASKS)
def test_splits_are_disjoint_and_streams_only_grow(task: str) -> None:
    training = [p.question for p in generate_problems(task, "training", 150, seed=0)]
    held_out = [p.question for p in generate_problems(task, "evaluation", 150, seed=0)]
    assert len(set(held_out)) == 150
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
            assert grade(Answer(text, problem.gold), Grader("boxed_integer")).reward == int(right)


def test_carries_and_borrows() -> None:
    assert carries(47, 1, 28) and carries(63, -1, 28)
    assert not carries(41, 1, 28) and not carries(68, -1, 28)


@pytest.mark.parametrize("task", TASKS)
def test_whoever_never_gives_up_nor_slips_is_right_as_often_as_the_kind_says(
    task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "GIVE_UP", 0.0)
    monkeypatch.setattr(tasks, "SLIP", 0.0)
    for problem in generate_problems(task, "evaluation", 30, seed=17):
        candidates, tries = problem.kind
        assert exact_values(problem)[()][1] == pytest.approx(tries / candidates)


@pytest.mark.parametrize("task", TASKS)
def test_tries_are_counted_whatever_the_words(task: str) -> None:
    rng = generator(0, "test of tries")
    for problem in generate_problems(task, "evaluation", 40, seed=23):
        text = demonstrate(problem, rng)
        assert keeps_to_its_tries(problem, text)
        for words in ("Try 1.", "The way is. try 1.", "7 + 1 = 8, wrong.", "The goal is 8, here 0."):
            assert not keeps_to_its_tries(problem, f"{text}\n\n" + "\n\n".join([words] * 3))
