"""Large numbers and ranges, as short as their certainty allows."""

from collections.abc import Callable


def short(value: float) -> str:
    """A number with two significant digits and a letter for its thousands."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.995 * size:
            return f"{two_digits(value / size)} {letter}"
    return two_digits(value)


def two_digits(value: float) -> str:
    """Two significant digits, three before the point."""
    return f"{value:.0f}" if value >= 9.95 or value == 0 else f"{value:.1f}"


def tenths(value: float) -> str:
    """Hours: whole ones, tenths below ten."""
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"


def spread(low: float, high: float, write: Callable[[float], str] = short) -> str:
    """A range; one number where both ends read the same, a dash where there is nothing to speak of."""
    left, right = write(low), write(high)
    if float(right.split()[0]) == 0:
        return "-"
    if left == right:
        return left
    return f"{left.split()[0] if left[-1] == right[-1] else left} to {right}"
