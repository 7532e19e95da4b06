"""Which token is in which bag, without the weights: what is worked out of it once serves every weighting of the bags.

Shapes: N bags, T entries, F rows of a table, P pieces of bags.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.ragged import offsets_of
from xmc.sent import sent

IntArray = np.ndarray[Any, Any]
LONGEST = 256  # entries that a GPU adds up one after the other


@dataclass(frozen=True, eq=False)
class BagLayout:
    """Bag i holds the entries `ids[offsets[i]:offsets[i + 1]]`. Shapes: `offsets` (N + 1,) int64; `ids` (T,) int."""

    offsets: IntArray
    ids: IntArray
    _copies: dict[torch.device, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def transposition(self) -> Transposition:
        """The bags that hold each id."""
        from scipy.sparse import csr_matrix

        size = (len(self.offsets) - 1, int(self.ids.max(initial=-1)) + 1)
        entries = np.arange(len(self.ids), dtype=np.int32 if len(self.ids) < 2**31 else np.int64)
        # counts, which takes a fifth of the time of a sort
        columns = csr_matrix((entries, self.ids, self.offsets), shape=size).tocsc()
        bags = columns.indices.astype(np.int32, copy=False)
        return Transposition(columns.indptr.astype(np.int64, copy=False), bags, columns.data)

    @cached_property
    def pieces(self) -> tuple[BagLayout, BagLayout] | None:
        """The bags cut into pieces of at most `LONGEST` entries, and bags of these pieces; None if all are shorter.

        A GPU sums a bag in one go, so that a word of every other label would keep it waiting for one long sum.
        """
        counts_N = np.diff(self.offsets)
        if counts_N.max(initial=0) <= LONGEST:
            return None
        pieces_N = -(-counts_N // LONGEST)
        owners = offsets_of(pieces_N)
        first_P = np.repeat(self.offsets[:-1] - LONGEST * owners[:-1], pieces_N)
        starts_P = first_P + LONGEST * np.arange(owners[-1])
        cut = BagLayout(np.append(starts_P, self.offsets[-1]), self.ids)
        return cut, BagLayout(owners, np.arange(owners[-1]))

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Ids and offsets there, int64; kept on a GPU, for a copy takes longer than the sum."""
        if device.type == "cpu":
            return torch.from_numpy(self.ids.astype(np.int64, copy=False)), torch.from_numpy(self.offsets)
        if device not in self._copies:
            with torch.inference_mode(False):  # also where the first to ask is an evaluation
                arrays = self.ids.astype(np.int64, copy=False), self.offsets
                ids, offsets = (sent(torch.from_numpy(array), device) for array in arrays)
                self._copies[device] = ids, offsets
        return self._copies[device]


@dataclass(frozen=True, eq=False)
class Transposition:
    """For each id from 0 to the largest, the bags that hold it: `bags[starts[i]:starts[i + 1]]`, ascending.

    `entries` says which entry of the bags each of these is.
    """

    starts: IntArray
    bags: IntArray
    entries: IntArray
    _wholes: dict[int, BagLayout] = field(default_factory=dict, init=False, repr=False)
    _entries: dict[torch.device, Tensor] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def rows(self) -> IntArray:
        """The ids that occur, ascending."""
        return np.flatnonzero(np.diff(self.starts))

    @cached_property
    def occurring(self) -> BagLayout:
        """The bags of each id that occurs."""
        return BagLayout(np.append(self.starts[self.rows], len(self.bags)).astype(np.int64), self.bags)

    def whole(self, rows: int) -> BagLayout:
        """The bags of each of the ids 0..rows-1, empty for those that do not occur."""
        if rows not in self._wholes:
            offsets = np.pad(self.starts, (0, rows + 1 - len(self.starts)), mode="edge")
            self._wholes[rows] = BagLayout(offsets, self.bags)
        return self._wholes[rows]

    def reordered(self, values: Tensor) -> Tensor:
        """Values of the bags' entries, (T,), in the order of `entries`; what says that order is kept on a GPU."""
        if values.device.type == "cpu":
            return values.index_select(0, torch.from_numpy(self.entries))
        if values.device not in self._entries:
            with torch.inference_mode(False):
                self._entries[values.device] = sent(torch.from_numpy(self.entries), values.device)
        return values.index_select(0, self._entries[values.device])
