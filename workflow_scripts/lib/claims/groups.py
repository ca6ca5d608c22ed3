"""Claims that something is found in every one of several groups: there it must be read, and kept with few inputs."""

from collections.abc import Mapping
from dataclasses import replace

from workflow_scripts.lib.claims.decide import ABOVE, Decision, decide, needed_n, side, standing, unmeasured
from workflow_scripts.lib.claims.verdicts import CONTRADICTED, SUPPORTED, UNDECIDED
from workflow_scripts.lib.formatting import fine_interval
from workflow_scripts.lib.statistics.joint_intervals import Interval

Pair = tuple[Interval | None, Interval | None]
"""The level in a group, and a paired difference there (of what is kept, or from a control)."""


def in_every(groups: Mapping[str, Pair], bar: float, margin: float, estimand: str, fewest: int = 2) -> Decision:
    """Judge whether each group has a level above the bar, and a difference above the margin.

    A difference contradicts only where there is a level to speak of. Limits that contradict are widened for the number
    of comparisons (Bonferroni). The decision carries the comparison that contradicts, or else the one nearest to it.

    Args:
        groups: level and difference of each group, None where one was not measured.
        bar: what each level must exceed.
        margin: what each difference must exceed.
        estimand: words for the row.
        fewest: groups below which nothing is decided.
    """
    names = [f"{name}, {part}" for name in groups for part in ("level", "difference")]
    pairs = [(one, limit) for pair in groups.values() for one, limit in zip(pair, (bar, margin), strict=True)]
    known = {
        name: (one, limit) for name, (one, limit) in zip(names, pairs, strict=True) if one and one.value is not None
    }
    if not known:
        why = next((one.reason for one, _ in pairs if one and one.reason), "Nothing was measured.")
        return unmeasured(margin, estimand, why)
    wide = {name: (one.at(1 - (1 - one.confidence) / len(names)), limit) for name, (one, limit) in known.items()}
    fallen = {name: pair for name, pair in wide.items() if contradicts(name, pair, known)}
    chosen = fallen or known
    worst = min(chosen, key=lambda name: standing(chosen[name][0], chosen[name][1], ABOVE))
    found = decide(*chosen[worst], ABOVE, f"{estimand}: {worst}")
    if not fallen:
        passed = [side(*pair, ABOVE) == SUPPORTED for pair in known.values()]
        enough = len(groups) >= fewest and len(known) == len(names)
        verdict = SUPPORTED if all(passed) and enough else UNDECIDED
        needed = needed_n(*known[worst]) if verdict == UNDECIDED and not passed[list(known).index(worst)] else None
        found = replace(found, verdict=verdict, needed_n=needed)
    told = [f"{name}: {fine_interval(one.value, one.low, one.high)}" for name, (one, _) in known.items()]
    told += [f"{name}: not measured" for name in names if name not in known]
    told += [f"only {len(groups)} was measured"] if len(groups) < fewest else []
    return replace(found, evidence="; ".join([found.evidence.removesuffix("."), *told]))


def contradicts(name: str, wide: tuple[Interval, float], known: Mapping[str, tuple[Interval, float]]) -> bool:
    """Say whether a comparison lies on the other side, and where it is a difference, whether the level is there."""
    if side(*wide, ABOVE) != CONTRADICTED:
        return False
    group, _, part = name.rpartition(", ")
    level = known.get(f"{group}, level")
    return part == "level" or (level is not None and side(*level, ABOVE) == SUPPORTED)
