"""The memory that jobs of this computer may take together."""

from collections.abc import Iterator
from pathlib import Path

import psutil

RESERVE = 0.1
"""The share of the free memory that is left to the system and to other programs."""
GROUPS = Path("/sys/fs/cgroup")
VERSIONS = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""For both versions of Linux's groups: the files of the limit and of what is in use, and the part that is cache."""


def memory_for_jobs() -> int:
    """Return the megabytes (10^6 bytes) that jobs may take together: what is free now, less a reserve; at least 1."""
    free = min([psutil.virtual_memory().available, *(left for group in own_groups() for left in free_in(group))])
    return max(1, int(free * (1 - RESERVE) / 1e6))


def own_groups(listed: Path = Path("/proc/self/cgroup"), mounted: Path = GROUPS) -> list[Path]:
    """List the folders of the groups that limit this process: its container's or batch job's, and all above them."""
    try:
        lines = [line.split(":", 2) for line in listed.read_text().splitlines()]
    except OSError:  # not Linux
        return []
    roots = [(mounted / kind, path.strip("/")) for _, kind, path in lines if kind in ("", "memory")]
    return [
        folder
        for root, path in roots
        for folder in (root / path, *(root / path).parents)
        if folder.is_relative_to(root)
    ]


def free_in(group: Path) -> Iterator[int]:
    """Yield the bytes that a group has left, if it has a limit; cache counts as free."""
    for limit, used, cache in VERSIONS:
        try:
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            yield int((group / limit).read_text()) - int((group / used).read_text()) + int(stat.get(cache, 0))
        except (OSError, ValueError):  # no such group, or its limit is `max`
            continue
