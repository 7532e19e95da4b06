"""What this process may use of the machine: cores and memory, within the limits of its container."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from xmc.counted import counted
from xmc.errors import XmcWarning

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory", "size calculation overflowed")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")


def cores(*, proc: Path = PROC, cgroups: Path = CGROUPS) -> int:
    """The processor cores that this process may use: its affinity, and the quota of its control groups (v2)."""
    allowed = visible_cores()
    for group in _groups(proc, cgroups):
        with contextlib.suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text(encoding="ascii").split()  # "max" is no number
            allowed = min(allowed, max(1, int(quota) // int(period)))
    return allowed


def visible_cores() -> int:
    """The processor cores that libraries see, and start a thread for each: those of the affinity."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_threads_to_quota(
    environment: MutableMapping[str, str] = os.environ, *, proc: Path = PROC, cgroups: Path = CGROUPS
) -> None:
    """Let numeric libraries start as many threads as the quota has cores, unless the user has said how many.

    To be called before they are imported. With more, each step waits for threads that the quota holds back.
    """
    allowed = cores(proc=proc, cgroups=cgroups)
    if "OMP_NUM_THREADS" not in environment and allowed < visible_cores():
        for variable in THREAD_VARIABLES:
            environment.setdefault(variable, str(allowed))


def warn_of_threads_beyond_quota(
    threads: int, *, stacklevel: int = 1, proc: Path = PROC, cgroups: Path = CGROUPS
) -> None:
    """Warn a program whose libraries have started more threads than its quota has cores, unbidden."""
    allowed = cores(proc=proc, cgroups=cgroups)
    if threads > allowed < visible_cores() and "OMP_NUM_THREADS" not in os.environ:
        warnings.warn(
            f"torch has {counted(threads, 'thread')}, but a quota lets this process use {allowed} of "
            f"{counted(visible_cores(), 'core')}: "
            f"searches wait for threads that it holds back. Start the program with OMP_NUM_THREADS={allowed}",
            XmcWarning,
            stacklevel=stacklevel + 1,
        )


def lacks_memory(error: Exception) -> bool:
    """Whether there was not enough memory; torch and FAISS say so with a RuntimeError.

    >>> lacks_memory(RuntimeError("CUDA out of memory")), lacks_memory(RuntimeError("shapes differ"))
    (True, False)
    """
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or any(phrase in said for phrase in OUT_OF_MEMORY)


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
