"""What this process may use of the machine: cores and memory, within the limits of its container."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")


def cores(*, proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """The processor cores that this process may use: its affinity, and the quota of its control groups (v2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups(proc, cgroups):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()  # "max" is no number
            allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def available_memory(*, proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """Bytes that this process can still get: what the machine says, and what its control groups (v2) leave.

    What files hold in the cache of a group is given back when it is needed, and is not counted against it.
    """
    try:
        lines = dict(line.split(":") for line in (proc / "meminfo").read_text(encoding="ascii").splitlines())
        available = int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, KeyError, ValueError):
        available = int(os.sysconf("SC_PAGE_SIZE")) * int(os.sysconf("SC_PHYS_PAGES"))
    for group in _groups(proc, cgroups):
        with contextlib.suppress(OSError, ValueError, KeyError):
            most = int((group / "memory.max").read_text(encoding="ascii"))
            used = int((group / "memory.current").read_text(encoding="ascii"))
            counts = dict(line.split() for line in (group / "memory.stat").read_text(encoding="ascii").splitlines())
            available = min(available, max(0, most - used + int(counts["inactive_file"])))
    return available


def _groups(proc: Path, cgroups: Path) -> Iterator[Path]:
    """The folders of this process's control group (v2) and of those around it; in a container the last may be all."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    name = next((line[3:] for line in lines if line.startswith("0::")), None)
    if name is None:
        return
    group = cgroups / name.lstrip("/")
    yield group
    while group != cgroups and cgroups in group.parents:
        group = group.parent
        yield group
