"""Three generated task families and their demonstrators, which solve them with known probabilities.

A problem is a question with an integer answer. It leaves several candidates, of which a limited number may be tried.
These two numbers determine how hard it is; the length of the question does not. A demonstrator writes a solution in
paragraphs. All its random choices go through `choose`, so that the same few lines sample a solution and, by following
every choice, give its exact value function (`tests/unit/exact_values.py`).

- `ledger`: a running total of two changes, some of which may have gone either way; carries are sometimes forgotten.
- `locks`: a four-digit code from four sums. Guess the first digit, derive the rest, check.
- `doors`: a way through one-way doors with dead ends.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from workflow_scripts.lib.seeds import generator, uniform

TASKS = ("ledger", "locks", "doors")
EVALUATION_SHARE = 0.25

# Number of candidates and of tries, with the frequency of such a problem. A solver that never gives up is correct with
# probability tries / candidates: no training can remove what is left to chance.
KINDS = {(1, 1): 0.15, (2, 2): 0.2, (2, 1): 0.3, (3, 2): 0.1, (4, 2): 0.15, (4, 1): 0.1}
TWOFOLD_KINDS = {(1, 1): 0.15, (2, 2): 0.25, (2, 1): 0.3, (4, 2): 0.2, (4, 1): 0.1}

# Probabilities that a search is given up before a try, and then resumed; that a carry is forgotten, and then noticed;
# and that a correct sum is doubted.
GIVE_UP, RESUME, SLIP, FELT, DOUBT = 0.3, 0.4, 0.12, 0.85, 0.05

Options = list[tuple[float, Any]]
Choose = Callable[[Options], Any]


@dataclass(frozen=True)
class Problem:
    """One question; `content` is its data, `kind` the number of candidates and of tries."""

    task: str
    question: str
    gold: str
    kind: tuple[int, int]
    content: tuple[Any, ...]

    @property
    def difficulty(self) -> str:
        """How hard it is for a solver that never gives up."""
        chance = self.kind[1] / self.kind[0]
        return "easy" if chance > 0.9 else "fair" if chance >= 0.5 else "hard"


@dataclass(frozen=True)
class Attempt:
    """One candidate worked out: the words, whether it passes the check, the answer, whether a slip was noticed."""

    words: str
    fits: bool
    answer: str
    doubtful: bool = False


def flip(choose: Choose, probability: float) -> bool:
    """Return True with the given probability."""
    return choose([(probability, True), (1 - probability, False)])


def draw_kind(rng: np.random.Generator, kinds: dict[tuple[int, int], float]) -> tuple[int, int]:
    """Draw a number of candidates and of tries."""
    return list(kinds)[rng.choice(len(kinds), p=list(kinds.values()))]


def search(
    problem: Problem, choose: Choose, candidates: list[str], listing: str, work_out: Callable[[str], Attempt], noun: str
) -> Iterator[str]:
    """Guess and check: yield an impression, tries until one fits or none is left (or it gives up), answer, confidence.

    The impression is the first word and the confidence the last, so that the model represents both where value is read:
    at the last token of the question and at the last token of the response.
    """
    left, last, tries, given_up = list(candidates), Attempt("", False, "0"), 0, False
    yield f"{problem.difficulty.capitalize()}. {listing} {' or '.join(candidates)}."
    for _ in range(problem.kind[1]):
        words = "Then try" if tries else "Try"
        if flip(choose, GIVE_UP):
            yield "I see no way on, so I give up."
            given_up = not flip(choose, RESUME)
            if given_up:
                break
            words = "Wait, try"
        candidate = choose([(1 / len(left), option) for option in left])
        left.remove(candidate)
        last, tries = work_out(candidate), tries + 1
        yield f"{words} {candidate}. {last.words}, {'good' if last.fits else 'wrong'}."
        if last.fits:
            break
    if tries == 1 and not given_up:
        yield "That fits, so I stop here." if last.fits else "That leads to nothing."
    sure = last.fits and not last.doubtful
    yield f"The {noun} is \\boxed{{{last.answer}}}, {'and I am sure' if sure else 'but I only guess'}."


def keeps_to_its_tries(problem: Problem, solution: str) -> bool:
    """Return whether a solution works out no more candidates than the question allows, in any wording."""
    traces = (r"\b[Tt]ry\b", r"\bhere\b(?!\.)", r"\b(?:good|wrong)\b")
    return max(len(re.findall(trace, solution)) for trace in traces) <= problem.kind[1]


# ---- ledger: two changes to a number -------------------------------------------------------------------------------

THINGS = ("beads", "coins", "nuts", "cards", "pens")
WAYS = {"in": 1, "out": -1}
BOTH_WAYS = list(WAYS)
VERBS = {"in": "added", "out": "taken", "": "moved"}


def make_ledger(rng: np.random.Generator) -> Problem:
    """Make two-digit numbers on every reading; one, two or four readings, of which the last digit leaves one."""
    kind = draw_kind(rng, TWOFOLD_KINDS)
    unclear = {1: (), 2: (int(rng.integers(2)),), 4: (0, 1)}[kind[0]]
    while True:
        start, first, second = (int(n) for n in rng.integers(11, 89, 3))
        true = [BOTH_WAYS[way] for way in rng.integers(2, size=2)]
        readings = [(a, b) for a in (WAYS if 0 in unclear else true[:1]) for b in (WAYS if 1 in unclear else true[1:])]
        middles = [start + WAYS[a] * first for a, _ in readings]
        ends = [middle + WAYS[b] * second for middle, (_, b) in zip(middles, readings, strict=True)]
        end = start + WAYS[true[0]] * first + WAYS[true[1]] * second
        if all(9 < n < 100 for n in middles + ends) and sum(n % 10 == end % 10 for n in ends) == 1:
            break
    thing = THINGS[rng.integers(len(THINGS))]
    verbs = [VERBS["" if i in unclear else way] for i, way in enumerate(true)]
    question = (
        f"A box holds {start} {thing}. First {first} are {verbs[0]}, then {second} are {verbs[1]}. It can be read in "
        f"{kind[0]} ways. The count ends in {end % 10}. How many {thing} are there within {kind[1]} tries?"
    )
    return Problem("ledger", question, str(end), kind, (start, first, second, tuple(readings), end % 10))


def carries(number: int, sign: int, change: int) -> bool:
    """Return whether the units of the sum or difference carry or borrow."""
    return not 0 <= number % 10 + sign * (change % 10) <= 9


def add(choose: Choose, number: int, way: str, change: int) -> tuple[str, int, bool]:
    """Return a sum as text, its result and whether it is doubted; a carry is sometimes forgotten, mostly noticed."""
    sign = WAYS[way]
    slip = carries(number, sign, change) and flip(choose, SLIP)
    result = number + sign * (change - 10 * slip)
    doubted = flip(choose, FELT if slip else DOUBT)
    words = f"{number} {'+' if sign > 0 else '-'} {change} = {result}{', I think' if doubted else ''}"
    return words, result, doubted


def solve_ledger(problem: Problem, choose: Choose) -> Iterator[str]:
    """Solve a ledger: each try is two sums on one reading; the last digit shows whether the reading was correct."""
    start, first, second, readings, last = problem.content

    def work_out(reading: str) -> Attempt:
        way1, _, way2 = reading.split()
        sum1, middle, doubted1 = add(choose, start, way1, first)
        sum2, end, doubted2 = add(choose, middle, way2, second)
        words = f"{sum1}. {sum2}. The count ends in {last}, here {end % 10}"
        return Attempt(words, end % 10 == last, str(end), doubted1 or doubted2)

    candidates = [f"{a} and {b}" for a, b in readings]
    yield from search(problem, choose, candidates, "It can be", work_out, "count")


# ---- locks: guess and check ----------------------------------------------------------------------------------------


def make_locks(rng: np.random.Generator) -> Problem:
    """Make a lock with one to four candidates for the first digit, of which the last sum leaves one."""
    kind = draw_kind(rng, KINDS)
    while True:
        low = int(rng.integers(1, 11 - kind[0]))
        high = low + kind[0] - 1
        a, b, c, d = int(rng.integers(low, high + 1)), *(int(n) for n in rng.integers(0, 10, 3))
        sums = (a + b, b + c, c + d, b + d)
        if all(0 <= digit <= 9 for first in range(low, high + 1) for digit in derive(first, sums)):
            break
    question = (
        f"A lock has the digits A, B, C, D. A is one of {kind[0]} from {low} to {high}. A and B make {sums[0]}, "
        f"B and C make {sums[1]}, C and D make {sums[2]}, B and D make {sums[3]}. "
        f"What is the code within {kind[1]} tries?"
    )
    return Problem("locks", question, f"{a}{b}{c}{d}", kind, (low, high, *sums))


def derive(first: int, sums: tuple[int, ...]) -> tuple[int, int, int]:
    """Derive the second, third and fourth digit from the first by the first three sums."""
    second = sums[0] - first
    third = sums[1] - second
    return second, third, sums[2] - third


def solve_locks(problem: Problem, choose: Choose) -> Iterator[str]:
    """Solve a lock: each try derives three digits from a guess of the first; the last sum checks the guess."""
    low, high, *sums = problem.content

    def work_out(first: str) -> Attempt:
        b, c, d = derive(int(first), tuple(sums))
        words = (
            f"A and B make {sums[0]}, {sums[0]} - {first} = {b}. B and C make {sums[1]}, {sums[1]} - {b} = {c}. "
            f"C and D make {sums[2]}, {sums[2]} - {c} = {d}. B and D make {sums[3]}, here {b} + {d} = {b + d}"
        )
        return Attempt(words, b + d == sums[3], f"{first}{b}{c}{d}")

    yield from search(problem, choose, [str(n) for n in range(low, high + 1)], "A can be", work_out, "code")


# ---- doors: search with dead ends ----------------------------------------------------------------------------------


def make_doors(rng: np.random.Generator) -> Problem:
    """Make eight one-way doors between ten rooms: one to four lead out of the start, and one of these to the goal.

    A door is written as the digits of its two rooms; those out of the start are next to each other.
    """
    kind = draw_kind(rng, KINDS)
    rooms = [int(n) for n in rng.permutation(10)]
    if rooms[0] == 0:
        rooms[0], rooms[1] = rooms[1], rooms[0]
    start, rest = rooms[0], rooms[1:]
    # Each way out is start -> a -> b; the doors left over join rooms that the start does not reach.
    pairs = [(rest[2 * i], rest[2 * i + 1]) for i in range(4)]
    reached, spare = pairs[: kind[0]], [n for pair in pairs[kind[0] :] for n in pair] + [rest[8]]
    blocks = [[(start, a) for a, _ in reached], *([pair] for pair in reached)]
    others = {(a, b) for a in spare for b in spare if a < b}
    missing = 8 - 2 * kind[0]
    chosen = sorted(others)
    blocks += [[chosen[i][:: 1 if rng.integers(2) else -1]] for i in rng.permutation(len(chosen))[:missing]]
    goal = pairs[0][1]
    blocks[0] = [blocks[0][i] for i in rng.permutation(kind[0])]
    listed = tuple(door for i in rng.permutation(len(blocks)) for door in blocks[i])
    question = (
        f"The doors are {', '.join(f'{a}{b}' for a, b in listed)}. You are in {start}, which has {kind[0]} doors. "
        f"The goal is {goal}. Which rooms do you pass within {kind[1]} tries?"
    )
    return Problem("doors", question, f"{start}{pairs[0][0]}{goal}", kind, (listed, start, goal))


def solve_doors(problem: Problem, choose: Choose) -> Iterator[str]:
    """Solve doors: each try takes one way out of the start and looks where it leads."""
    doors, start, goal = problem.content

    def work_out(way: str) -> Attempt:
        room = int(way[1])
        end = dict(doors)[room]
        return Attempt(f"Then take {room}{end}. The goal is {goal}, here {end}", end == goal, f"{way}{end}")

    candidates = [f"{a}{b}" for a, b in doors if a == start]
    yield from search(problem, choose, candidates, "I can take", work_out, "way")


# ---- interface of the module ----------------------------------------------------------------------------------------

MAKERS = {"ledger": make_ledger, "locks": make_locks, "doors": make_doors}
SOLVERS = {"ledger": solve_ledger, "locks": solve_locks, "doors": solve_doors}


def problem_stream(task: str, split: str, seed: int) -> Iterator[Problem]:
    """Yield problems of one split; those of `evaluation` without repetition, those of `training` as they come.

    A hash of the content decides which split a problem belongs to, so the splits cannot overlap. The same
    (task, split, seed) gives the same stream.
    """
    rng = generator(seed, "problems", task, split)
    seen: set[str] = set()
    while True:
        problem = MAKERS[task](rng)
        held_out = uniform("split of reference problems", task, repr(problem.content)) < EVALUATION_SHARE
        if held_out != (split == "evaluation") or problem.question in seen:
            continue
        if held_out:
            seen.add(problem.question)
        yield problem


def generate_problems(task: str, split: str, n: int, seed: int) -> list[Problem]:
    """Return the first n problems of a stream; a larger n only adds to a smaller one."""
    stream = problem_stream(task, split, seed)
    return [next(stream) for _ in range(n)]


def demonstrate(problem: Problem, rng: np.random.Generator) -> str:
    """Sample one solution."""

    def choose(options: Options) -> Any:
        return options[rng.choice(len(options), p=[p for p, _ in options])][1]

    return "\n\n".join(SOLVERS[problem.task](problem, choose))
