"""The candidates of an index of codes or of a graph, scored again with the full vectors: the best of them.

Shapes: Q queries, M candidates, K wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xmc.api import dot_pairs, rounded_dots
from xmc_index_faiss.label_vectors import HeldVectors, LabelVectors

NUMBERS = 65_536  # of pairs at a time, which stay in a cache
FEW_PAIRS = 16  # as many are scored exactly at once in the time of finding out which need not be

Array = np.ndarray[Any, Any]


def best_rescored(queries_QD: Array, vectors: LabelVectors, rows_QM: Array, k: int) -> tuple[Array, Array]:
    """Scores and rows (Q, K) of the best k candidates by their true scores; places without one (-1) are last.

    Naive: every pair by `dot_pairs`, rounded to float32, then sorted by (-score, row).
    """
    held = vectors if isinstance(vectors, HeldVectors) else None
    if held and is_one(queries_QD, rows_QM):
        return _best_of_one(queries_QD, held, rows_QM, k)
    open_QM = rows_QM >= 0
    if held and np.count_nonzero(open_QM) >= len(rows_QM) * k + FEW_PAIRS:
        open_QM &= _near_the_best(queries_QD, held, rows_QM, k)
    query_rows_P, columns_P = np.nonzero(open_QM)
    scores_QM = np.full(rows_QM.shape, -np.inf, dtype=np.float32)
    most_Q = held.most_scores(queries_QD) if held else None
    step = max(1, NUMBERS // queries_QD.shape[1])
    for start in range(0, len(columns_P), step):
        places = rows_P, _ = query_rows_P[start : start + step], columns_P[start : start + step]
        pairs_PD = queries_QD[rows_P], vectors.take(rows_QM[places])
        scores_QM[places] = dot_pairs(*pairs_PD) if most_Q is None else rounded_dots(*pairs_PD, most_P=most_Q[rows_P])
    queries_Q1, order_QK = np.arange(len(rows_QM))[:, None], np.lexsort((rows_QM, -scores_QM), axis=1)[:, :k]
    return scores_QM[queries_Q1, order_QK], rows_QM[queries_Q1, order_QK]


def is_one(queries_QD: Array, rows_QM: Array) -> bool:
    """Whether this is a single query whose candidates take less time to score than to sift."""
    return len(rows_QM) == 1 and rows_QM.size * queries_QD.size <= NUMBERS


def _best_of_one(query_1D: Array, vectors: HeldVectors, rows_1M: Array, k: int) -> tuple[Array, Array]:
    """All are scored: each operation of numpy takes longer than the products that it would save."""
    rows_N = rows_1M[rows_1M >= 0]
    scores_N = rounded_dots(query_1D, vectors.take(rows_N), most_P=vectors.most_scores(query_1D))
    order_K = np.lexsort((rows_N, -scores_N))[:k]
    scores_K, rows_K = scores_N[order_K], rows_N[order_K]
    if none := min(k, rows_1M.size) - len(order_K):
        scores_K, rows_K = np.append(scores_K, [np.float32(-np.inf)] * none), np.append(rows_K, [-1] * none)
    return scores_K[None], rows_K[None]


def _near_the_best(queries_QD: Array, vectors: HeldVectors, rows_QM: Array, k: int) -> Array:
    """Whether a float32 score leaves it open that the true one is among the best k, (Q, M) bool."""
    quick_QM = vectors.scores(queries_QD, rows_QM)
    kth_Q = np.partition(quick_QM, -k, axis=1)[:, -k]
    near_QM: Array = quick_QM >= (kth_Q - 2 * vectors.score_errors(queries_QD))[:, None]
    return near_QM
