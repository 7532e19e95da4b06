"""The one order of hits: score descending, then label row ascending, cut at k."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from xmc.values import Hits

if TYPE_CHECKING:
    import numpy as np


def first_hits(hits: Hits, k: int) -> Hits:
    """The best k hits of each query.

    >>> import numpy as np
    >>> first_hits(Hits(np.array([0, 3, 4]), np.array([7, 2, 5, 1]), np.array([3.0, 2.0, 1.0, 0.0])), 2).label_rows
    array([7, 2, 1])
    """
    import numpy as np

    counts_Q = np.diff(hits.offsets)
    kept_H = np.arange(len(hits.label_rows)) - np.repeat(hits.offsets[:-1], counts_Q) < k
    offsets = np.concatenate(([0], np.cumsum(np.minimum(counts_Q, k)))).astype(np.int64)
    return Hits(offsets, hits.label_rows[kept_H], hits.scores[kept_H])


def rank_hits(
    query_rows_N: np.ndarray[Any, Any],
    label_rows_N: np.ndarray[Any, Any],
    scores_N: np.ndarray[Any, Any],
    *,
    queries: int,
    k: int,
) -> Hits:
    """The best k of each query among N (query, label, score) candidates that come in any order, each pair once.

    Naive: `sorted(candidates of the query, key=lambda c: (-c.score, c.label_row))[:k]`.
    Shapes: three arrays (N,); query rows in `range(queries)`; scores are compared as float32, as they are returned.

    >>> import numpy as np
    >>> hits = rank_hits(np.array([0, 0, 0]), np.array([7, 2, 5]), np.array([1.0, 1.0, 3.0]), queries=2, k=2)
    >>> hits.label_rows.tolist(), hits.scores.tolist(), hits.offsets.tolist()
    ([5, 2], [3.0, 1.0], [0, 2, 2])
    """
    import numpy as np

    scores_N = scores_N.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0: they are equal and must print alike
    order = np.lexsort((label_rows_N, -scores_N, query_rows_N))
    counts_Q = np.bincount(query_rows_N, minlength=queries)
    starts_Q = np.cumsum(counts_Q) - counts_Q
    sorted_queries = query_rows_N[order]
    ranks = np.arange(len(order)) - starts_Q[sorted_queries]
    kept = order[ranks < k]
    offsets = np.concatenate(([0], np.cumsum(np.minimum(counts_Q, k)))).astype(np.int64)
    return Hits(offsets, label_rows_N[kept].astype(np.int64), scores_N[kept])
