"""What indexes of very many labels take, from what the backends say of themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xmc.plugin_manager import Offer
from xmc.tune.candidates import find_candidates

USED_SHARE = 0.75  # of a machine's memory; the rest is for the label table, queries, the system


@dataclass(frozen=True)
class IndexSize:
    """Bytes of one kind of index for each number of labels asked for."""

    index: str
    labels: tuple[int, ...]
    total_bytes: tuple[int, ...]

    @property
    def bytes_per_label(self) -> float:
        """At the largest number, where what does not grow with the labels has vanished."""
        return self.total_bytes[-1] / self.labels[-1]


def index_sizes(offers: Sequence[Offer], labels: Sequence[int], *, dimension: int) -> list[IndexSize]:
    """The sizes of everything that the backends propose for all of these numbers of labels, the largest first."""
    found: dict[str, list[int]] = {}
    for count in labels:
        for candidate in find_candidates(offers, labels=count, dimension=dimension)[0]:
            found.setdefault(str(candidate), []).append(candidate.estimated_bytes)
    sizes = [IndexSize(name, tuple(labels), tuple(sums)) for name, sums in found.items() if len(sums) == len(labels)]
    return sorted(sizes, key=lambda size: -size.bytes_per_label)


def label_shards(total_bytes: int, *, machine_bytes: int) -> int:
    """Machines, and so label shards, that hold an index with a quarter of their memory to spare.

    >>> label_shards(1000 << 30, machine_bytes=256 << 30)
    6
    """
    return max(1, math.ceil(total_bytes / (USED_SHARE * machine_bytes)))
