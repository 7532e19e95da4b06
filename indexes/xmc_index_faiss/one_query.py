"""One query of a faiss index without the wrapper of its Python module, which takes as long as a small search.

Shapes: D width, K wanted.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch

from xmc_index_faiss._import import import_faiss

_MOST_KEPT = 64  # sets of buffers, of all k together
_LARGEST_KEPT = 10_000  # a k for which they are kept: as many hits as a retriever gives


class _Buffers(NamedTuple):
    """Room for one search, and faiss's pointers to it: to make a pointer takes longer than to copy a query."""

    query_1D: np.ndarray[Any, Any]
    scores_1K: np.ndarray[Any, Any]
    rows_1K: np.ndarray[Any, Any]
    pointers: tuple[Any, Any, Any]


class OneQuery:
    """Searches an index on the CPU for one query at a time, from any number of threads.

    Naive: `faiss_index.search(query_1D, k, params=parameters)`, whose bits it has.
    """

    def __init__(self, faiss_index: Any) -> None:
        self._faiss_index = faiss_index
        self._free: deque[_Buffers] = deque(maxlen=_MOST_KEPT)  # its pop and append are atomic

    def search(
        self, query_1D: np.ndarray[Any, Any], k: int, parameters: Any
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """Scores and label rows, (1, K) each, -1 for no label."""
        buffers = self._taken(k)
        buffers.query_1D[:] = query_1D
        query, scores, rows = buffers.pointers
        self._faiss_index.search_c(1, query, k, scores, rows, parameters)
        found = buffers.scores_1K.copy(), buffers.rows_1K.copy()
        if k <= _LARGEST_KEPT:
            self._free.append(buffers)
        return found

    def _taken(self, k: int) -> _Buffers:
        """Buffers that no other search uses until they are handed back."""
        while self._free:
            try:
                buffers = self._free.pop()
            except IndexError:  # another thread was faster
                break
            if buffers.rows_1K.shape[1] == k:
                return buffers
        arrays = (
            torch.empty(1, self._faiss_index.d).numpy(),  # in whole lines of the cache, unlike numpy's
            np.empty((1, k), np.float32),
            np.empty((1, k), np.int64),
        )
        query, scores, rows = (import_faiss().swig_ptr(array) for array in arrays)
        return _Buffers(*arrays, (query, scores, rows))
