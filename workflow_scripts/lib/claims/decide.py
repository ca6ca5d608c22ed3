"""From the interval of an estimand to a verdict: one margin, one direction, one rule.

Supported: the whole interval lies on the claim's side of the margin. Contradicted: the whole interval lies on the other
side. Undecided: else, with how many problems would decide it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from scipy.stats import t

from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from workflow_scripts.lib.formatting import fine, fine_interval, listed
from workflow_scripts.lib.statistics.joint_intervals import Interval, Spread

ABOVE, BELOW = "above", "below"
"""On which side of the margin a claim puts its estimand."""
MOST_PROBLEMS = 10**7
"""Numbers beyond this are no advice: more problems than any benchmark has."""


@dataclass(frozen=True)
class Decision:
    """A verdict with the comparison that it rests on."""

    verdict: str
    estimand: str
    """What was estimated, in words."""
    value: float | None
    ci_low: float | None
    ci_high: float | None
    margin: float
    n: int
    """Problems; seeds, where the estimand is about sets of neurons."""
    n_rarer: int | None
    needed_n: int | None
    """Problems that would decide an undecided claim at the effect seen; None if decided, or if no number would."""
    evidence: str


def decide(interval: Interval, margin: float, direction: str, estimand: str) -> Decision:
    """Judge one estimand against its margin.

    Args:
        interval: the estimand; with a `reason` it stays undecided.
        margin: fixed, from the claim, in the units of the estimand.
        direction: `above` or `below`.
        estimand: words for the row.
    """
    verdict = side(interval, margin, direction)
    needed = needed_n(interval, margin) if verdict == UNDECIDED else None
    told = f"{fine_interval(interval.value, interval.low, interval.high)}, claimed {direction} {fine(margin)}"
    evidence = f"{told}. {interval.reason}" if interval.reason else told
    limits = (interval.value, interval.low, interval.high)
    return Decision(verdict, estimand, *limits, margin, interval.n, interval.n_rarer, needed, evidence)


def side(interval: Interval, margin: float, direction: str) -> str:
    """Return the verdict that an interval gives."""
    if interval.reason or interval.low is None or interval.high is None:
        return UNDECIDED
    above, below = interval.low > margin, interval.high < margin
    if direction == BELOW:
        above, below = below, above
    return SUPPORTED if above else CONTRADICTED if below else UNDECIDED


def unmeasured(margin: float, estimand: str, why: str = "Nothing was measured.") -> Decision:
    """Return the decision on an estimand that has no number."""
    return Decision(UNDECIDED, estimand, None, None, None, margin, 0, None, None, why)


def keeps(difference: Interval, full: Interval, margin: float, bar: float, estimand: str) -> Decision:
    """Judge whether a level is kept: the pruned less the unpruned one lies above a negative margin.

    Args:
        difference: paired difference, pruned less unpruned.
        full: level with all inputs.
        margin: how much may be lost, as a negative number.
        bar: 0.55 for an AUC, 0.1 for a Spearman correlation (`where_known`).
        estimand: words for the row.
    """
    return decide(where_known(difference, full, bar), margin, ABOVE, estimand)


def where_known(difference: Interval, full: Interval, bar: float) -> Interval:
    """Return the difference; without a verdict where the lower limit of the full level is not above the bar.

    There is nothing to keep then. For several groups, apply it to each and give all to `against_all`.
    """
    if side(full, bar, ABOVE) == SUPPORTED:
        return difference
    level = fine_interval(full.value, full.low, full.high)
    why = f"With all inputs {level}, not shown to be above {fine(bar)}: nothing to keep."
    above = full.value is not None and full.value > bar
    gate = max(difference.gate_n, (needed_n(full, bar) if above else None) or MOST_PROBLEMS)
    return replace(difference, reason=f"{difference.reason} {why}" if difference.reason else why, gate_n=gate)


def against_all(intervals: Mapping[str, Interval | None], margin: float, direction: str, estimand: str) -> Decision:
    """Judge a claim against every named opponent (or in every named group).

    Supported only if supported against all, at plain intervals, because all must pass. Contradicted if contradicted by
    one, at intervals widened for the number of names. The decision carries the comparison that decided: the one nearest
    to failing, or the one that contradicts, with its widened limits.

    Args:
        intervals: the comparison with each name, None where it was never measured.
        margin: fixed, from the claim.
        direction: `above` or `below`.
        estimand: words for the row.
    """
    known = {name: one for name, one in intervals.items() if one is not None and one.value is not None}
    missing = [name for name in intervals if name not in known]
    if not known:
        return unmeasured(margin, estimand)
    wide = {name: one.at(1 - (1 - one.confidence) / len(intervals)) for name, one in known.items()}
    against = {name: one for name, one in wide.items() if side(one, margin, direction) == CONTRADICTED}
    name = min(against or known, key=lambda key: standing(known[key], margin, direction))
    found = decide((against or known)[name], margin, direction, f"{estimand}: {name}")
    if not against and found.verdict == CONTRADICTED:  # by its plain limits, which several opponents do not allow
        found = replace(found, verdict=UNDECIDED, needed_n=needed_n(wide[name], margin))
    plain = [side(one, margin, direction) for one in known.values()]
    if found.verdict == SUPPORTED and (missing or set(plain) != {SUPPORTED}):
        found = replace(found, verdict=UNDECIDED, needed_n=None)
    told = [f"{key}: {fine_interval(one.value, one.low, one.high)}" for key, one in known.items()]
    told += [f"Never measured, so that the claim cannot be supported: {listed(missing)}."] if missing else []
    return replace(
        found,
        evidence=f"{found.evidence.removesuffix('.')}; {'; '.join(told)}" if len(intervals) > 1 else found.evidence,
    )


def standing(interval: Interval, margin: float, direction: str) -> float:
    """Return how many standard errors an estimand lies on the claim's side; one without limits counts as none."""
    if interval.value is None or interval.low is None or interval.reason:
        return 0.0
    towards = interval.gap(interval.value, margin) / interval.se
    return towards if direction == ABOVE else -towards


def needed_n(interval: Interval, margin: float) -> int | None:
    """Compute how many problems would put the margin outside the interval at the effect seen.

    The variance over problems shrinks as 1/n, that over members does not. Never fewer than the gate asks for; just what
    it asks for where nothing is known yet. None where no number of problems would do.
    """
    if interval.value is None or interval.low is None:
        return interval.gate_n if interval.n < interval.gate_n < MOST_PROBLEMS else None
    gap, spread, n = abs(interval.gap(interval.value, margin)), interval.spread, interval.n

    def decides(problems: int) -> bool:
        return spread.at(problems / n).half_width(interval.confidence) < gap

    if not decides(MOST_PROBLEMS) or interval.gate_n >= MOST_PROBLEMS:
        return None
    low, high = 0, MOST_PROBLEMS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return max(high, interval.gate_n)


def smallest_effect(spread: Spread, confidence: float = 0.95, power: float = 0.8) -> float:
    """Compute the smallest distance from the margin that is decided with this power.

    Args:
        spread: what a plan assumes at its number of problems; `Spread.at` gives another number.
        confidence: coverage of the interval.
        power: chance that a true effect of that size puts the margin outside the interval.
    """
    return spread.half_width(confidence) + float(t.ppf(power, spread.freedom)) * spread.se
