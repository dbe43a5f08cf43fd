"""Cores that this process may use: by its affinity, and by the quota of its control groups."""

import math
import os
from contextlib import suppress
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def usable_cores(groups: Path = GROUPS, own: Path = OWN) -> int:
    """The number of cores, 1 or more; a quota of a part of a core counts as one.

    groups: where Linux shows control groups, of version 2 or 1; own: which ones this process is in.
    Neither need be there.
    """
    if hasattr(os, "sched_getaffinity"):
        found = len(os.sched_getaffinity(0))
    else:
        found = os.cpu_count() or 1
    return max(1, math.ceil(min([found, *_quotas(groups, own)])))


def _quotas(groups: Path, own: Path) -> list[float]:
    """Cores' worth of time that the groups of this process, and those above them, may use."""
    places = [groups, groups / "cpu"]
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, kinds, path = line.split(":", 2)
            root = groups / "cpu" if "cpu" in kinds.split(",") else groups
            place = root / path.lstrip("/")
            places += [place, *(above for above in place.parents if above.is_relative_to(root))]
    return [quota for place in dict.fromkeys(places) if (quota := _quota(place)) is not None]


def _quota(place: Path) -> float | None:
    """Cores' worth of time of one group; None if it has no limit."""
    with suppress(OSError, ValueError):
        limit, period = (place / "cpu.max").read_text(encoding="utf-8").split()
        return None if limit == "max" else int(limit) / int(period)
    with suppress(OSError, ValueError):
        limit = (place / "cpu.cfs_quota_us").read_text(encoding="utf-8")
        period = (place / "cpu.cfs_period_us").read_text(encoding="utf-8")
        return int(limit) / int(period) if int(limit) > 0 else None
    return None
