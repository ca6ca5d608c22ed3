"""Claims that something is found in every one of several groups: there it must be read, and kept with few inputs."""

from collections.abc import Mapping
from dataclasses import replace

from workflow_scripts.lib.claims.comparison import Measured
from workflow_scripts.lib.claims.decide import ABOVE, Decision, decide, needed_n, side, standing, unmeasured
from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from workflow_scripts.lib.formatting import fine_interval
from workflow_scripts.lib.statistics.joint_intervals import Interval

LEVEL, DIFFERENCE = "level", "difference"
"""What is measured in a group: the level, and a paired difference there (of what is kept, or from a control)."""


def part_of(group: str, part: str) -> str:
    """Name what is measured in a group."""
    return f"{group}, {part}"


def in_every(comparisons: Mapping[str, Measured], estimand: str, fewest: int = 2) -> Decision:
    """Judge whether each group has a level above its margin, and a difference above its own.

    A difference contradicts only where there is a level to speak of. Limits that contradict are widened for the number
    of comparisons (Bonferroni). The decision carries the comparison that contradicts, or else the one nearest to it.

    Args:
        comparisons: level and difference of each group (`part_of`).
        estimand: words for the row.
        fewest: groups below which nothing is decided.
    """
    known = {
        name: (one.interval, one.margin)
        for name, one in comparisons.items()
        if one.interval is not None and one.interval.value is not None
    }
    margin = next((one.margin for name, one in comparisons.items() if name.endswith(DIFFERENCE)), 0.0)
    if not known:
        reasons = (one.interval.reason for one in comparisons.values() if one.interval and one.interval.reason)
        return unmeasured(margin, estimand, next(reasons, "Nothing was measured."))
    many = len(comparisons)
    wide = {name: (one.at(1 - (1 - one.confidence) / many), limit) for name, (one, limit) in known.items()}
    fallen = {name: pair for name, pair in wide.items() if contradicts(name, pair, known)}
    chosen = fallen or known
    worst = min(chosen, key=lambda name: standing(chosen[name][0], chosen[name][1], ABOVE))
    found = decide(*chosen[worst], ABOVE, f"{estimand}: {worst}")
    groups = len(comparisons) // 2
    if not fallen:
        passed = [side(*pair, ABOVE) == SUPPORTED for pair in known.values()]
        enough = groups >= fewest and len(known) == len(comparisons)
        verdict = SUPPORTED if all(passed) and enough else UNDECIDED
        needed = needed_n(*known[worst]) if verdict == UNDECIDED and not passed[list(known).index(worst)] else None
        found = replace(found, verdict=verdict, needed_n=needed)
    told = [f"{name}: {fine_interval(one.value, one.low, one.high)}" for name, (one, _) in known.items()]
    told += [f"{name}: not measured" for name in comparisons if name not in known]
    told += [f"only {groups} was measured"] if groups < fewest else []
    return replace(found, evidence="; ".join([found.evidence.removesuffix("."), *told]))


def contradicts(name: str, wide: tuple[Interval, float], known: Mapping[str, tuple[Interval, float]]) -> bool:
    """Say whether a comparison lies on the other side, and where it is a difference, whether the level is there."""
    if side(*wide, ABOVE) != CONTRADICTED:
        return False
    group, _, part = name.rpartition(", ")
    level = known.get(part_of(group, LEVEL))
    return part == LEVEL or (level is not None and side(*level, ABOVE) == SUPPORTED)
