"""Queries in bags: training draws them as wholes, since only the label of a bag is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xmc.ragged import offsets_of

IntArray = np.ndarray[Any, Any]


class Bags:
    """Which of the Q training queries make a bag; `numbers_Q` numbers the bags from 0.

    >>> bags = Bags(["b", "a", "b"])
    >>> bags.numbers_Q.tolist(), bags.rows(np.array([1, 0])).tolist()
    ([1, 0, 1], [0, 2, 1])
    """

    def __init__(self, bag_ids: Sequence[str]) -> None:
        _, self.numbers_Q = np.unique(np.asarray(bag_ids), return_inverse=True)
        self._rows_Q = np.argsort(self.numbers_Q, kind="stable")
        self._offsets = offsets_of(np.bincount(self.numbers_Q))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @property
    def largest(self) -> int:
        """The number of queries of the largest bag."""
        return int(np.diff(self._offsets).max())

    def at_once(self, size: int) -> int:
        """How many bags go into a batch of at most `size` queries, whichever they are; at least one."""
        return max(1, size // self.largest)

    def rows(self, numbers: IntArray) -> IntArray:
        """The query rows of these bags, one bag after the other."""
        return np.concatenate([self._rows_Q[self._offsets[bag] : self._offsets[bag + 1]] for bag in numbers])
