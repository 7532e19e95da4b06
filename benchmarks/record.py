"""Write benchmark rows with their circumstances: every figure names machine, versions, threads, commit and date.

Neither host names nor paths are recorded.
"""

from __future__ import annotations

import csv
import datetime
import functools
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from xmc.machine import visible_cores

COLUMNS = (
    "question", "subject", "baseline", "x", "median", "p20", "p80", "low95", "high95", "unit", "ratio", "threads",
    "machine", "python", "torch", "faiss", "xmc", "commit", "date", "config",
)  # fmt: skip
PAUSE_S = 0.05  # idle OpenMP threads of one library go on spinning for a while and would slow the next one


def record(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Replace `path` by a CSV of `rows`, each completed with machine, versions, commit and date.

    A row gives question, subject, baseline, x, median, unit, threads and config; timings also p20, p80 and ratio
    (baseline median / own median); figures of quality the ends of their bootstrap interval. A key that is no column is
    an error.
    """
    shared = circumstances()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({**shared, **row})


def beside_earlier(
    path: Path, rows: Iterable[Mapping[str, object]], *, keys: Sequence[str] = ("question", "subject", "x")
) -> list[dict[str, object]]:
    """The rows of an earlier table that these do not measure again, as they were recorded, and then these.

    `keys` say what a row measures: without `x` where that is an outcome.
    """
    new = [dict(row) for row in rows]
    again = {tuple(str(row[key]) for key in keys) for row in new}
    if not path.is_file():
        return new
    with path.open(encoding="utf-8", newline="") as file:
        earlier = [dict(row) for row in csv.DictReader(file)]
    return [row for row in earlier if tuple(row[key] for key in keys) not in again] + new


def circumstances() -> dict[str, str]:
    """What holds for every row of this run."""
    return {
        "machine": f"{_processor()}, {visible_cores()} cores{_gpu()}",
        "python": platform.python_version(),
        "torch": _version("torch"),
        "faiss": next(filter(None, map(_version, ("faiss-cpu", "faiss-gpu", "faiss-gpu-cuvs"))), ""),
        "xmc": _version("xmc-engine"),
        "commit": _commit(),
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }


def alternate(
    subjects: Mapping[str, Callable[[], object]], *, repeats: int, warmups: int = 2, pause_s: float = PAUSE_S
) -> dict[str, list[float]]:
    """Seconds of each subject, `repeats` each, run in turn so that a slow moment of the machine hits all alike.

    Every other turn goes backwards: who comes later finds more of what all read in the cache.
    """
    seconds: dict[str, list[float]] = {name: [] for name in subjects}
    for turn in range(-warmups, repeats):
        for name, run in subjects.items() if turn % 2 else reversed(subjects.items()):
            time.sleep(pause_s)
            started = time.perf_counter()
            run()
            if turn >= 0:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, 20th and 80th percentile."""
    cuts = statistics.quantiles(values, n=5, method="inclusive")
    return statistics.median(values), cuts[0], cuts[-1]


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu() -> str:
    import torch

    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


@functools.cache
def _commit() -> str:
    """Of the checkout as it is before this program records, or what the environment says of a copy without history."""
    if known := os.environ.get("XMC_BENCHMARK_COMMIT"):
        return known
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()
