"""The index of a run whose labels were edited: the built one without what is gone, and a small one of what was added.

Shapes: Q queries, B labels of the built index (base), N added ones, C labels in all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import Hits, IndexReport, validate_k, validate_label_rows, validate_vectors
from xmc.retrieve.kept_search import search_among, search_kept
from xmc.retrieve.living_labels import LivingLabels
from xmc.retrieve.merge import merge_hits

if TYPE_CHECKING:
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

    @cached_property
    def report(self) -> IndexReport:
        """That of the base, with all labels counted."""
        base, delta = self.base.report, self.delta.report if self.delta else None
        labels = int(self._stays_B.sum()) + len(self.added_rows_N)
        memory = base.memory_bytes + (delta.memory_bytes if delta else 0)
        return replace(base, labels=labels, memory_bytes=memory)

    def search(self, queries_QE: Tensor, k: int) -> Hits:
        """The best k labels of each query; labels that are gone take no place.

        Raises: ConfigError for k < 1; DataError, NonFiniteError for queries; what the indexes raise.
        """
        queries_QE = self._checked(queries_QE, k)
        parts = [_renamed(search_kept(self.base, queries_QE, k, self._stays_B), self.base_rows_B)]
        if self.delta is not None:
            parts.append(_renamed(self.delta.search(queries_QE, k), self.added_rows_N))
        return merge_hits(parts, k)

    def search_among(self, queries_QE: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The best k of these label rows. Raises: as `search`; DataError for rows that are not there."""
        queries_QE = self._checked(queries_QE, k)
        rows = validate_label_rows(label_rows, labels=self.report.labels)
        base_rows, added_rows = self._base_row_of_C[rows], self._added_row_of_C[rows]
        found = search_among(self.base, queries_QE, k, base_rows[base_rows >= 0])
        parts = [_renamed(found, self.base_rows_B)]
        if self.delta is not None:
            found = search_among(self.delta, queries_QE, k, added_rows[added_rows >= 0])
            parts.append(_renamed(found, self.added_rows_N))
        return merge_hits(parts, k)

    def save(self, folder: Path) -> None:
        """Not saved: `xmc labels compact` builds a new index instead. Raises: TypeError."""
        raise TypeError(f"an index with edits is not saved into {folder}; build a new one: xmc labels compact")

    def _checked(self, queries_QE: Tensor, k: int) -> Tensor:
        """The queries as vectors; parts of them and other k go to the base, which would name rows and k of its own."""
        validate_k(k)
        return validate_vectors(queries_QE, what="query", dimension=self.base.report.dimension, sparse=True)

    @cached_property
    def _stays_B(self) -> np.ndarray[Any, Any]:
        return np.asarray(self.base_rows_B >= 0)

    @cached_property
    def _base_row_of_C(self) -> np.ndarray[Any, Any]:
        """For each label its row in the base, -1 for an added one."""
        rows = np.flatnonzero(self._stays_B)
        return _inverse(self.base_rows_B[rows], rows, self.report.labels)

    @cached_property
    def _added_row_of_C(self) -> np.ndarray[Any, Any]:
        """For each label its row in the delta, -1 for one of the base."""
        return _inverse(self.added_rows_N, np.arange(len(self.added_rows_N)), self.report.labels)


def _inverse(label_rows: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], labels: int) -> np.ndarray[Any, Any]:
    row_of_C = np.full(labels, -1, np.int64)
    row_of_C[label_rows] = rows
    return row_of_C


def _renamed(hits: Hits, rows_of: np.ndarray[Any, Any]) -> Hits:
    return Hits(hits.offsets, rows_of[hits.label_rows], hits.scores)
