"""One setting of one index, measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Stage = Literal["sample", "choosing", "judging"]


@dataclass(frozen=True)
class Measurement:
    """Recall against exact search with its 95 % interval, speed and size of an index with certain search options.

    `stage`: on a sample of the labels, on the queries that choose, or on those that judge what was chosen.
    `latency_s` is the median time for one query, `queries_per_s` the median rate in batches.
    """

    backend: str
    options: Mapping[str, Any]
    search_options: Mapping[str, Any] = field(default_factory=dict)
    stage: Stage = "choosing"
    queries: int = 0
    recall: float = 0.0
    low: float = 0.0
    high: float = 0.0
    queries_per_s: float = 0.0
    latency_s: float = 0.0
    memory_bytes: int = 0
    build_s: float = 0.0

    def __str__(self) -> str:
        search = ", ".join(f"{name} {value}" for name, value in self.search_options.items())
        return f"'{self.backend}'" + (f" ({search})" if search else "")
