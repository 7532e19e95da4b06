"""What is asked of an index, and which of two measurements serves it better."""

from __future__ import annotations

import math
from dataclasses import dataclass

from xmc.errors import ConfigError
from xmc.given_numbers import any_number, whole_number
from xmc.tune.measurement import Measurement
from xmc.vectors import validate_k

MEGABYTE = 1 << 20
MOST_AT_ONCE = 1_000_000  # queries of a batch


@dataclass(frozen=True)
class Goal:
    """What is asked: at least this recall against exact search, at most this memory, at most this time for one query.

    With a target recall the fastest index that reaches it is wanted, without one the best recall within the limits.
    Fast means queries a second in batches of `batch_size`; `latency_s` is the median time of the index for one query.

    >>> print(Goal(target_recall=0.95, memory_bytes=500 << 20))
    the fastest with recall@10 of at least 0.95, at most 500.0 MB
    """

    target_recall: float | None = None
    memory_bytes: int | None = None
    latency_s: float | None = None
    k: int = 10
    batch_size: int = 64

    def __post_init__(self) -> None:
        if self.target_recall is None and self.memory_bytes is None and self.latency_s is None:
            raise ConfigError("no goal is given.", hint="Give a target recall, a limit of memory or of latency.")
        for name in ("target_recall", "memory_bytes", "latency_s"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, any_number(value, name=name))
        object.__setattr__(self, "k", validate_k(self.k))
        object.__setattr__(self, "batch_size", whole_number(self.batch_size, name="batch_size", least=1))
        if self.target_recall is not None and not 0 < self.target_recall <= 1:
            raise ConfigError(f"the target recall must lie above 0 and at most at 1, got {self.target_recall}.")
        for name, value in (("memory in bytes", self.memory_bytes), ("latency in seconds", self.latency_s)):
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"the {name} must be above 0, got {value}.")
        if self.batch_size > MOST_AT_ONCE:
            raise ConfigError(f"batch_size must be at most {MOST_AT_ONCE:,}, got {self.batch_size:,}.")

    def __str__(self) -> str:
        wanted = f"the best recall@{self.k}"
        if self.target_recall is not None:
            wanted = f"the fastest with recall@{self.k} of at least {self.target_recall:g}"
        memory = "" if self.memory_bytes is None else f", at most {megabytes(self.memory_bytes)}"
        return wanted + memory + ("" if self.latency_s is None else f", at most {milliseconds(self.latency_s)} a query")

    def is_too_large(self, memory_bytes: int | None) -> bool:
        """Whether so much memory (None: not known) is more than allowed."""
        return self.memory_bytes is not None and memory_bytes is not None and memory_bytes > self.memory_bytes

    def is_too_slow(self, point: Measurement) -> bool:
        """Whether one query takes longer than allowed."""
        return self.latency_s is not None and point.latency_s > self.latency_s

    def reaches(self, point: Measurement) -> bool:
        """Whether the recall is the one asked for; any is, where none is asked for."""
        return self.target_recall is None or point.recall >= self.target_recall

    def meets(self, point: Measurement) -> bool:
        """Whether everything asked for is kept."""
        return self.reaches(point) and not self.is_too_slow(point) and not self.is_too_large(point.memory_bytes)

    def ends(self, point: Measurement) -> bool:
        """Whether a better search that takes longer cannot serve the goal better."""
        return self.is_too_slow(point) or point.recall >= (1.0 if self.target_recall is None else self.target_recall)

    def worth(self, point: Measurement) -> tuple[float, float]:
        """Higher is better, among the settings of one index.

        Where a recall is asked for, the least effort that reaches it is the fastest by the ladder's order, which the
        noise of timing does not disturb; else the best recall counts, and then speed.
        """
        return (-point.recall if self.target_recall is not None else point.recall, point.queries_per_s)


def megabytes(count: int) -> str:
    """A size for people; 1 MB = 1,024 kB, as everywhere in xmc.

    >>> megabytes(3 << 29)
    '1,536.0 MB'
    """
    return f"{count / MEGABYTE:,.1f} MB" if count >= MEGABYTE else f"{count / 1024:,.1f} kB"


def milliseconds(seconds: float) -> str:
    """A time for people.

    >>> milliseconds(0.0021), milliseconds(1.25)
    ('2.1 ms', '1250 ms')
    """
    return f"{1000 * seconds:.3g} ms" if seconds < 0.9995 else f"{1000 * seconds:.0f} ms"
