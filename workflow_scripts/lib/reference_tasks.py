"""Three generated task families and their demonstrators, which solve them with known probabilities.

A problem is a question with an integer answer. Its difficulty lies in the content (carries, the number of candidates,
forks), never in the length of the question. A demonstrator writes a solution in paragraphs; everything it leaves to
chance goes through `choose`, so that the same few lines sample a solution and, by following every choice, give its
exact value function (`exact_values`).

- `ledger`: a running total of two changes. Carries slip often; a check finds some slips; then it redoes or leaves it.
- `locks`: a four-digit code from four sums. Guess the first digit, derive the rest, check; few tries.
- `doors`: a way through one-way doors. Explore a branch; at a dead end go back, if a turn is left.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from workflow_scripts.lib.seeds import generator, uniform

TASKS = ("ledger", "locks", "doors")
EVALUATION_SHARE = 0.25

# How often a carry slips, a slip is found by the check, a found slip is redone, a search is given up, and resumed.
SLIP, FOUND, REDO, GIVE_UP, RESUME = 0.5, 0.55, 0.5, 0.2, 0.5

Options = list[tuple[float, Any]]
Choose = Callable[[Options], Any]


@dataclass(frozen=True)
class Problem:
    """One question; `content` is what it is about, `difficulty` names how much is left to chance."""

    task: str
    question: str
    gold: str
    difficulty: str
    content: tuple[Any, ...]


def flip(choose: Choose, probability: float) -> bool:
    """True with the given probability."""
    return choose([(probability, True), (1 - probability, False)])


def opening(choose: Choose, difficulty: str) -> str:
    """A first impression, right nine times in ten."""
    looks_hard = flip(choose, {"easy": 0.08, "medium": 0.5, "hard": 0.92}[difficulty])
    return f"This looks {'hard' if looks_hard else 'easy'}."


def ending(choose: Choose, answer: str, gold: str) -> str:
    """The last paragraph: a stated confidence that mostly fits the facts, and the answer."""
    sure = flip(choose, 0.9 if answer == gold else 0.12)
    return f"I am {'sure' if sure else 'not sure'}. The answer is \\boxed{{{answer}}}."


# ---- ledger: two changes to a number -------------------------------------------------------------------------------

THINGS = ("beads", "coins", "nuts", "cards", "pens")


def make_ledger(rng: np.random.Generator) -> Problem:
    """Two-digit numbers throughout; easy without any carry or borrow, hard with one in both changes."""
    wanted = int(rng.choice(3, p=[0.33, 0.27, 0.4]))
    while True:
        start, first, second = rng.integers(11, 99, (3, 256))
        sign1, sign2 = 2 * rng.integers(0, 2, (2, 256)) - 1
        middle = start + sign1 * first
        end = middle + sign2 * second
        carries = carry(start, sign1, first).astype(int) + carry(middle, sign2, second)
        # Two forgotten carries of opposite sign would cancel and leave a right answer.
        fits = (middle > 9) & (middle < 100) & (end > 9) & (end < 100) & (carries == wanted)
        fits &= (carries < 2) | (sign1 == sign2)
        if fits.any():
            break
    numbers = [int(values[fits][0]) for values in (start, sign1, first, sign2, second)]
    thing = THINGS[rng.integers(len(THINGS))]
    words = [f"{n} are {'put in' if sign > 0 else 'taken out'}" for sign, n in (numbers[1:3], numbers[3:5])]
    question = f"A box holds {numbers[0]} {thing}. Then {words[0]} and {words[1]}. How many {thing} are in the box?"
    difficulty = ("easy", "medium", "hard")[wanted]
    return Problem("ledger", question, str(int(end[fits][0])), difficulty, tuple(numbers))


def carry(number: Any, sign: Any, change: Any) -> Any:
    """Whether the units of the sum or difference carry or borrow; for numbers or arrays of them."""
    units = number % 10 + sign * (change % 10)
    return (units > 9) | (units < 0)


def add(choose: Choose, number: int, sign: int, change: int, slip: float) -> tuple[int, bool]:
    """The sum, or a slip: mostly the carry forgotten, else one off. Without a carry slips are rare."""
    right = number + sign * change
    p = slip if carry(number, sign, change) else 0.02
    forgotten, off = right - 10 * sign, right + 1
    result = choose([(1 - p, right), (0.8 * p, forgotten), (0.2 * p, off)])
    return result, result != right


def write_sum(number: int, sign: int, change: int, result: int) -> str:
    """An addition or subtraction as text."""
    return f"{number} {'+' if sign > 0 else '-'} {change} = {result}"


def solve_ledger(problem: Problem, choose: Choose) -> Iterator[str]:
    """Two sums, a check, perhaps a second go, and the answer."""
    start, sign1, first, sign2, second = problem.content
    middle, slipped1 = add(choose, start, sign1, first, SLIP)
    first_line = opening(choose, problem.difficulty) + f" I get {write_sum(start, sign1, first, middle)}"
    yield first_line + doubt(choose, slipped1)
    end, slipped2 = add(choose, middle, sign2, second, SLIP)
    yield f"Then I get {write_sum(middle, sign2, second, end)}" + doubt(choose, slipped2)
    if flip(choose, FOUND if slipped1 or slipped2 else 0.03):
        yield f"Going back from {end} I do not reach {start}. One step is wrong."
        if flip(choose, REDO):
            middle, _ = add(choose, start, sign1, first, SLIP / 3)
            end, _ = add(choose, middle, sign2, second, SLIP / 3)
            yield f"Once more, {write_sum(start, sign1, first, middle)} and {write_sum(middle, sign2, second, end)}."
        else:
            yield "I do not see which, so I leave it."
    else:
        yield f"Going back from {end} I reach {start}. That fits."
    yield ending(choose, str(end), problem.gold)


def doubt(choose: Choose, slipped: bool) -> str:
    """A remark after a result; slips are mostly felt, if not always."""
    return ", I think." if flip(choose, 0.85 if slipped else 0.08) else ", fine."


# ---- locks: guess and check ----------------------------------------------------------------------------------------

# Candidates for the first digit and tries allowed, with how often such a lock is asked for.
LOCKS = {(1, 1): 0.15, (2, 2): 0.15, (3, 2): 0.2, (2, 1): 0.2, (4, 2): 0.2, (3, 1): 0.1}


def rate(chance: float) -> str:
    """How hard a search looks: by the share of the possibilities that may be tried."""
    return "easy" if chance > 0.9 else "medium" if chance > 0.6 else "hard"


def make_locks(rng: np.random.Generator) -> Problem:
    """One to four candidates for the first digit, of which the last sum leaves one, and one or two tries."""
    kinds = list(LOCKS)
    wanted, tries = kinds[rng.choice(len(kinds), p=list(LOCKS.values()))]
    while True:
        low = int(rng.integers(1, 11 - wanted))
        options = range(low, low + wanted)
        code = [int(rng.choice(options)), *(int(n) for n in rng.integers(0, 10, 3))]
        sums = (code[0] + code[1], code[1] + code[2], code[2] + code[3], code[1] + code[3])
        if all(0 <= digit <= 9 for a in options for digit in derive(a, sums)):
            break
    question = (
        f"A lock has four digits. The first is from {low} to {low + wanted - 1}. The first two add to {sums[0]}, "
        f"the middle two to {sums[1]}, the last two to {sums[2]}, the second and fourth to {sums[3]}. "
        f"What is the code within {tries} tries?"
    )
    content = (low, low + wanted - 1, *sums, tries)
    return Problem("locks", question, "".join(map(str, code)), rate(tries / wanted), content)


def derive(first: int, sums: tuple[int, ...]) -> tuple[int, int, int]:
    """The second, third and fourth digit that follow from the first by the first three sums."""
    second = sums[0] - first
    third = sums[1] - second
    return second, third, sums[2] - third


def solve_locks(problem: Problem, choose: Choose) -> Iterator[str]:
    """The candidates, one or two tries (or giving up, perhaps not for good), and the answer."""
    low, high, *sums, tries = problem.content
    options = list(range(low, high + 1))
    yield f"{opening(choose, problem.difficulty)} It can be {' or '.join(map(str, options))}."
    code = "0000"
    for attempt in range(tries):
        words = "Then try" if attempt else "Try"
        if flip(choose, GIVE_UP):
            yield "I see no way on, so I give up."
            if not flip(choose, RESUME):
                break
            words = "Wait, try"
        first = choose([(1 / len(options), a) for a in options])
        options.remove(first)
        second, third, fourth = derive(first, tuple(sums))
        fits = second + fourth == sums[3]
        code = f"{first}{second}{third}{fourth}"
        yield (
            f"{words} {first}. {sums[0]} - {first} = {second}, {sums[1]} - {second} = {third}, "
            f"{sums[2]} - {third} = {fourth}. "
            f"{second} + {fourth} = {second + fourth}, {'good.' if fits else f'not {sums[3]}.'}"
        )
        if fits:
            yield "All of it fits, so I stop here."
            break
    else:
        yield "No try is left, so it stays shut."
    yield ending(choose, code, problem.gold)


# ---- doors: search with dead ends ----------------------------------------------------------------------------------

# Ways out of the start and ways that may be tried, with how often such a maze is asked for.
DOORS = {(1, 1): 0.2, (2, 2): 0.14, (3, 2): 0.16, (2, 1): 0.2, (4, 2): 0.2, (3, 1): 0.1}


def make_doors(rng: np.random.Generator) -> Problem:
    """Eight one-way doors between ten rooms, in random order: one to four ways out of the start, one or two turns.

    A door is written as the digits of its two rooms.
    """
    kinds = list(DOORS)
    branches, tries = kinds[rng.choice(len(kinds), p=list(DOORS.values()))]
    rooms = [int(n) for n in rng.permutation(10)]
    if rooms[0] == 0:
        rooms[0], rooms[1] = rooms[1], rooms[0]
    start, rest = rooms[0], rooms[1:]
    # Each branch is start -> a -> b; the doors left over are ones that the start does not reach.
    pairs = [(rest[2 * i], rest[2 * i + 1]) for i in range(4)]
    doors = [(start, a) for a, _ in pairs[:branches]] + pairs
    spare = [n for pair in pairs[branches:] for n in pair] + [rest[8]]
    while len(doors) < 8:
        a, b = (int(n) for n in rng.choice(spare, 2, replace=False))
        if (a, b) not in doors and (b, a) not in doors:
            doors.append((a, b))
    goal = pairs[0][1]
    listed = tuple(doors[i] for i in rng.permutation(8))
    words = ", ".join(f"{a}{b}" for a, b in listed)
    question = f"Go from {start} to {goal}. The doors are {words}. Which rooms do you pass within {tries} turns?"
    gold = f"{start}{pairs[0][0]}{goal}"
    return Problem("doors", question, gold, rate(tries / branches), (listed, start, goal, tries))


def solve_doors(problem: Problem, choose: Choose) -> Iterator[str]:
    """The ways out, one or two of them walked (or giving up, perhaps not for good), and the answer."""
    doors, start, goal, tries = problem.content
    ways = [b for a, b in doors if a == start]
    yield f"{opening(choose, problem.difficulty)} I see {' and '.join(f'{start}{way}' for way in ways)}."
    way, end = start, start
    for attempt in range(tries):
        words = "Go back and take" if attempt else "Take"
        if flip(choose, GIVE_UP):
            yield "I am lost, so I give up."
            if not flip(choose, RESUME):
                break
            words = "Wait, take"
        way = choose([(1 / len(ways), w) for w in ways])
        ways.remove(way)
        end = dict(doors)[way]
        yield f"{words} {start}{way}. There I see {way}{end}, {'the goal.' if end == goal else f'not {goal}.'}"
        if end == goal:
            yield "That is the way, so I stop here."
            break
    else:
        yield "No turn is left, so I stay here."
    yield ending(choose, f"{start}{way}{end}", problem.gold)


# ---- what the workflow uses ----------------------------------------------------------------------------------------

MAKERS = {"ledger": make_ledger, "locks": make_locks, "doors": make_doors}
SOLVERS = {"ledger": solve_ledger, "locks": solve_locks, "doors": solve_doors}


def problem_stream(task: str, split: str, seed: int) -> Iterator[Problem]:
    """Problems without repetition. A hash of the content says which split it belongs to, so the splits cannot meet.

    `split` is `training` or `evaluation`; the same (task, split, seed) gives the same stream.
    """
    rng = generator(seed, "problems", task, split)
    seen: set[str] = set()
    while True:
        problem = MAKERS[task](rng)
        held_out = uniform("split of reference problems", task, repr(problem.content)) < EVALUATION_SHARE
        if held_out == (split == "evaluation") and problem.question not in seen:
            seen.add(problem.question)
            yield problem


def generate_problems(task: str, split: str, n: int, seed: int) -> list[Problem]:
    """The first n problems of a stream; a larger n only adds to a smaller one."""
    stream = problem_stream(task, split, seed)
    return [next(stream) for _ in range(n)]


def demonstrate(problem: Problem, rng: np.random.Generator) -> str:
    """One sampled solution."""

    def choose(options: Options) -> Any:
        return options[rng.choice(len(options), p=[p for p, _ in options])][1]

    return "\n\n".join(SOLVERS[problem.task](problem, choose))


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
    return paragraphs[-1].endswith(f"\\boxed{{{gold}}}.")


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
