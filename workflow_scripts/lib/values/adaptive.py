"""The number of continuations of a boundary: fixed, or adaptive, with more of them where its value is still uncertain.

An adaptive design draws in rounds. It stops at a boundary once Wilson's interval of the value is narrow enough, or the
budget is spent; it looks only at that boundary's continuations, so neither shards nor other responses influence it.
Stopping depends on the outcome, so the share of correct answers is biased afterwards. The estimate used here is not:
among all orders of correct and incorrect answers that lead to where the sampling stopped, without stopping it before,
it is the share that begin with a correct one (Girshick, Mosteller and Savage 1946). It is the first answer, which is
unbiased, averaged over the orders that the counts allow (Rao and Blackwell). A fixed number is the design with one
round; the estimate is then the share of correct answers.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int

from workflow_scripts.lib.config.sections import Values
from workflow_scripts.lib.statistics.intervals import wilson

Array = np.ndarray


@dataclass(frozen=True)
class Design:
    """Every boundary gets `first` continuations, and up to `budget` while its interval is wider than +- `half_width`.

    Each round adds half of the number so far: less than doubling, so that fewer are drawn needlessly.
    """

    first: int
    budget: int
    half_width: float = 0.0

    @property
    def adaptive(self) -> bool:
        """Whether boundaries can differ in their number of continuations."""
        return self.first < self.budget

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of continuations after which the sampling can stop."""
        numbers = [self.first]
        while numbers[-1] < self.budget:
            numbers.append(min(numbers[-1] + max(1, numbers[-1] // 2), self.budget))
        return tuple(numbers)

    @property
    def rounds(self) -> tuple[range, ...]:
        """The numbers of the continuations that each round draws."""
        return tuple(map(range, (0, *self.looks), self.looks))

    def goes_on(self, n: int, n_right: Int[Array, " states"]) -> Bool[Array, " states"]:
        """Say whether states with `n_right` correct ones of `n`, one of the `looks`, get another round."""
        low, high = wilson(n_right, n)
        return (high - low > 2 * self.half_width) & (n < self.budget)


def design_of(values: Values) -> Design:
    """Return the design that the configuration asks for."""
    n = values.n_continuations
    return Design(n, n) if values.adaptive is None else Design(**values.adaptive)


@cache
def estimates(design: Design) -> Float[Array, "n n_right"]:
    """Return the unbiased value estimate where the sampling stops with `n_right` correct ones of `n`; NaN elsewhere.

    Paths are counted in whole numbers, so the estimate is exact to the last digit.
    """
    table = np.full((design.budget + 1, design.budget + 1), np.nan)
    paths, begun_correct = [1, 1], [0, 1]  # after one continuation, by the number of correct ones
    for n in range(1, design.budget + 1):
        if n > 1:
            paths, begun_correct = one_more(paths), one_more(begun_correct)
        if n in design.looks:
            stops = ~design.goes_on(n, np.arange(n + 1))
            for n_right in np.flatnonzero(stops):
                if paths[n_right]:
                    table[n, n_right] = begun_correct[n_right] / paths[n_right]
                paths[n_right] = begun_correct[n_right] = 0
    return table


def one_more(paths: list[int]) -> list[int]:
    """Count paths by their number of correct ones, one continuation later."""
    return [incorrect + correct for incorrect, correct in zip([*paths, 0], [0, *paths], strict=True)]


def draw_estimates(
    design: Design, values: Float[Array, " states"], rng: np.random.Generator
) -> Float[Array, " states"]:
    """Draw once what the design would measure at states with these true values."""
    n, n_right = np.zeros(len(values), int), np.zeros(len(values), int)
    undecided = np.arange(len(values))
    for numbers in design.rounds:
        n[undecided] = numbers.stop
        n_right[undecided] += rng.binomial(len(numbers), values[undecided])
        undecided = undecided[design.goes_on(numbers.stop, n_right[undecided])]
    return estimates(design)[n, n_right]
