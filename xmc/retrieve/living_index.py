"""The index of a run whose labels were edited: the built one without what is gone, and a small one of what was added.

Shapes: Q queries, B labels of the built index (base), N added ones, C labels in all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import Hits, IndexReport, validate_label_rows
from xmc.retrieve.kept_search import no_hits, search_among, search_kept
from xmc.retrieve.living_labels import LivingLabels
from xmc.retrieve.merge import merge_hits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from xmc.api import Index


@dataclass(frozen=True, eq=False)
class LivingIndex:
    """Answers as an index over the whole label set would; immutable, as its parts are.

    With an exact base and a delta of the same backend this holds to the bit, ties included. `base_rows_B` are the
    label rows of the base's labels (-1: gone), `added_rows_N` those of the delta's.
    """

    base: Index
    delta: Index | None
    base_rows_B: np.ndarray[Any, Any]
    added_rows_N: np.ndarray[Any, Any]

    @classmethod
    def of(cls, base: Index, delta: Index | None, living: LivingLabels) -> LivingIndex:
        """Over the label set of a run; `delta` has the vectors of `living.added`."""
        return cls(base, delta, living.base_rows_B, living.added_rows_N)

    @property
    def report(self) -> IndexReport:
        """That of the base, with all labels counted."""
        base, delta = self.base.report, self.delta.report if self.delta else None
        labels = int((self.base_rows_B >= 0).sum()) + len(self.added_rows_N)
        memory = base.memory_bytes + (delta.memory_bytes if delta else 0)
        return replace(base, labels=labels, memory_bytes=memory)

    def search(self, queries_QE: Tensor, k: int) -> Hits:
        """The best k labels of each query; labels that are gone take no place.

        Raises: what the indexes raise.
        """
        parts = [_renamed(search_kept(self.base, queries_QE, k, self.base_rows_B >= 0), self.base_rows_B)]
        if self.delta is not None:
            parts.append(_renamed(self.delta.search(queries_QE, k), self.added_rows_N))
        return merge_hits(parts, k)

    def search_among(self, queries_QE: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The best k of these label rows. Raises: DataError for rows that are not there; what the indexes raise."""
        rows = validate_label_rows(label_rows, labels=self.report.labels)
        parts = [_among(part, queries_QE, k, rows, rows_of) for part, rows_of in self._parts()]
        return merge_hits(parts, k) if len(rows) else no_hits(queries_QE.shape[0])

    def save(self, folder: Path) -> None:
        """Not saved: `xmc labels compact` builds a new index instead. Raises: TypeError."""
        raise TypeError(f"an index with edits is not saved into {folder}; build a new one: xmc labels compact")

    def _parts(self) -> Iterator[tuple[Index, np.ndarray[Any, Any]]]:
        yield self.base, self.base_rows_B
        if self.delta is not None:
            yield self.delta, self.added_rows_N


def _among(part: Index, queries_QE: Tensor, k: int, rows: np.ndarray[Any, Any], rows_of: np.ndarray[Any, Any]) -> Hits:
    """The hits of one part among label rows of the whole set; `rows_of` its labels, ascending but for -1."""
    own = np.flatnonzero(rows_of >= 0)
    if len(own) == 0:
        return no_hits(queries_QE.shape[0])
    places = np.minimum(np.searchsorted(rows_of[own], rows), len(own) - 1)
    found = own[places[rows_of[own][places] == rows]]
    return _renamed(search_among(part, queries_QE, k, found), rows_of)


def _renamed(hits: Hits, rows_of: np.ndarray[Any, Any]) -> Hits:
    return Hits(hits.offsets, rows_of[hits.label_rows], hits.scores)
