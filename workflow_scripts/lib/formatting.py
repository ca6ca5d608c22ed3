"""Write numbers for people: decimals, intervals, p-values, large numbers and ranges."""

from collections.abc import Callable, Sequence
from typing import Any


def short(value: float) -> str:
    """Write a number with two significant digits and a letter for its thousands."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.995 * size:
            return f"{two_digits(value / size)} {letter}"
    return two_digits(value)


def two_digits(value: float) -> str:
    """Write two significant digits, three before the point."""
    return f"{value:.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"


def tenths(value: float) -> str:
    """Write hours: whole ones, tenths below ten."""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def spread(low: float, high: float, write: Callable[[float], str] = short) -> str:
    """Write a range; one number where both ends read the same, a dash where both are 0."""
    left, right = write(low), write(high)
    if float(right.split()[0]) == 0:
        return "-"
    if left == right:
        return left
    return f"{left.split()[0] if left[-1] == right[-1] else left} to {right}"


def number(value: float | None) -> str:
    """Write two decimals with a true minus sign, or a dash for None."""
    return "–" if value is None else f"{value:.2f}".replace("-0.00", "0.00").replace("-", "\N{MINUS SIGN}")


def listed(items: Sequence[object]) -> str:
    """Join items as in `a`, `a and b`, `a, b and c`."""
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def percent(value: float | None) -> str:
    """Write a share as a percentage with one decimal."""
    return "–" if value is None else f"{100 * value:.1f} %"


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """Write a number with its interval, or a dash."""
    return "–" if value is None else f"{number(value)} [{number(low)}, {number(high)}]"


def fine(value: float | None) -> str:
    """Write three decimals with a true minus sign, for differences of accuracies, or a dash."""
    return "–" if value is None else f"{value:.3f}".replace("-0.000", "0.000").replace("-", "\N{MINUS SIGN}")


def fine_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Write a difference with its interval where there is one, or a dash."""
    if value is None:
        return "–"
    return fine(value) if low is None or high is None else f"{fine(value)} [{fine(low)}, {fine(high)}]"


def p_value(value: float | None) -> str:
    """Write a p-value with three decimals, a small one as a bound."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def grouped(value: Any) -> str:
    """Write a whole number with thin spaces between thousands."""
    return "–" if value is None else f"{int(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
