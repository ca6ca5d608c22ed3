"""How many continuations a boundary gets: a fixed number, or more of them where its value is still uncertain.

An adaptive design draws in rounds. It stops at a boundary once Wilson's interval of the value is narrow enough, or the
budget is spent; it looks at that boundary's continuations alone, so neither shards nor other responses touch it.
Stopping looks at the outcome, so the share of right answers is biased afterwards. The estimate used here is not: among
all orders in which right and wrong answers can lead to where the sampling stopped, and not stop it before, the share
that begin with a right one (Girshick, Mosteller and Savage 1946). It is the first answer, which is unbiased, averaged
over what the counts leave open (Rao and Blackwell). A fixed number is the design with one round; the estimate is then
the share of right answers.
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
    """`first` continuations of every boundary; up to `budget` while the interval is wider than +- `half_width`.

    Each round brings half as many again: finer than doubling, so that fewer are drawn in vain.
    """

    first: int
    budget: int
    half_width: float = 0.0

    @property
    def adaptive(self) -> bool:
        """Whether boundaries can differ in their number."""
        return self.first < self.budget

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of continuations after which the sampling can stop."""
        found = [self.first]
        while found[-1] < self.budget:
            found.append(min(found[-1] + max(1, found[-1] // 2), self.budget))
        return tuple(found)

    @property
    def rounds(self) -> tuple[range, ...]:
        """The numbers of the continuations that each round draws."""
        return tuple(map(range, (0, *self.looks), self.looks))

    def goes_on(self, n: int, n_right: Int[Array, " states"]) -> Bool[Array, " states"]:
        """Whether states with `n_right` right ones of `n`, one of the `looks`, get another round."""
        low, high = wilson(n_right, n)
        return (high - low > 2 * self.half_width) & (n < self.budget)


def design_of(values: Values) -> Design:
    """The design that the configuration asks for."""
    n = values.n_continuations
    return Design(n, n) if values.adaptive is None else Design(**values.adaptive)


@cache
def estimates(design: Design) -> Float[Array, "n n_right"]:
    """The unbiased estimate of the value where the sampling stops with `n_right` right ones of `n`; NaN elsewhere.

    Paths are counted in whole numbers, so the estimate is exact to the last digit.
    """
    found = np.full((design.budget + 1, design.budget + 1), np.nan)
    paths, begun_right = [1, 1], [0, 1]  # after one continuation, by the number of right ones
    for n in range(1, design.budget + 1):
        if n > 1:
            paths, begun_right = one_more(paths), one_more(begun_right)
        if n in design.looks:
            stops = ~design.goes_on(n, np.arange(n + 1))
            for n_right in np.flatnonzero(stops):
                if paths[n_right]:
                    found[n, n_right] = begun_right[n_right] / paths[n_right]
                paths[n_right] = begun_right[n_right] = 0
    return found


def one_more(paths: list[int]) -> list[int]:
    """Numbers of paths by their right ones, one continuation later."""
    return [wrong + right for wrong, right in zip([*paths, 0], [0, *paths], strict=True)]


def draw_estimates(
    design: Design, values: Float[Array, " states"], rng: np.random.Generator
) -> Float[Array, " states"]:
    """What the design would measure, once, at states with these true values."""
    n, n_right = np.zeros(len(values), int), np.zeros(len(values), int)
    unsettled = np.arange(len(values))
    for numbers in design.rounds:
        n[unsettled] = numbers.stop
        n_right[unsettled] += rng.binomial(len(numbers), values[unsettled])
        unsettled = unsettled[design.goes_on(numbers.stop, n_right[unsettled])]
    return estimates(design)[n, n_right]
