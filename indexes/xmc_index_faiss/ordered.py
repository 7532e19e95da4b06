"""Answers that faiss gives in order already, as most are: found out in less time than sorting them takes.

Shapes: Q queries, K wanted.
"""

from __future__ import annotations

from itertools import pairwise
from math import inf
from operator import gt
from typing import Any

import numpy as np

from xmc.api import Hits

_FEW = 100  # hits
_ZERO = np.float32(0)

Array = np.ndarray[Any, Any]


def ordered_hits(scores_QK: Array, rows_QK: Array) -> Hits | None:
    """The hits, where all lists are full and in the order of `rank_hits`, and their scores finite; else None.

    They hold these arrays, in which -0.0 becomes 0.0.

    >>> ordered_hits(np.array([[2.0, 1.0]]), np.array([[7, 3]])).label_rows.tolist()
    [7, 3]
    >>> ordered_hits(np.array([[1.0, 1.0]]), np.array([[7, 3]])) is None
    True
    """
    queries, k = rows_QK.shape
    scores_H, rows_H = scores_QK.ravel(), rows_QK.ravel()
    if rows_H.size:
        is_ordered = _is_ordered if queries == 1 and k <= _FEW else _are_ordered
        if not is_ordered(scores_H, rows_H, k):
            return None
    return Hits(np.array((0, k)) if queries == 1 else np.arange(queries + 1) * k, rows_H, scores_H)


def _is_ordered(scores_K: Array, rows_K: Array, k: int) -> bool:
    """One list of k: each operation of numpy takes longer than all of this. Turns -0.0 into 0.0."""
    del k
    scores, rows = scores_K.tolist(), rows_K.tolist()
    if not (-inf < scores[-1] and scores[0] < inf and min(rows) >= 0):
        return False
    if not all(map(gt, scores, scores[1:])):
        pairs = pairwise(zip(scores, rows, strict=True))
        if not all(one > two or (one == two and row < next_row) for (one, row), (two, next_row) in pairs):
            return False
    if 0.0 in scores:
        scores_K += _ZERO
    return True


def _are_ordered(scores_H: Array, rows_H: Array, k: int) -> bool:
    """Lists one after another, in few operations: after a search none of their code is in a cache. Likewise -0.0."""
    falls = scores_H[1:] < scores_H[:-1]  # which NaN makes false, too
    falls[k - 1 :: k] = True  # from one list to the next
    if not falls.all():
        tied = np.flatnonzero(~falls)
        if (scores_H[tied] != scores_H[tied + 1]).any() or (rows_H[tied] >= rows_H[tied + 1]).any():
            return False
    if rows_H.min() < 0 or not np.vdot(scores_H, scores_H) < inf:
        return False
    scores_H += _ZERO
    return True
