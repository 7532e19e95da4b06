"""The candidates of an index of codes or of a graph, scored again with the full vectors: the best of them.

Shapes: Q queries, M candidates, K wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xmc.api import dot_pairs, rounded_dots
from xmc_index_faiss.label_vectors import HeldVectors, LabelVectors
from xmc_index_faiss.score_error import norms

NUMBERS = 65_536  # of vectors at a time, which stay in a cache
FEW = 16  # candidates more than wanted are scored exactly at once in the time of finding out which need not be
_NONE = np.float32(-3.4e38)  # faiss gives such places -inf or the lowest float32

Array = np.ndarray[Any, Any]


def best_rescored(queries_QD: Array, vectors: LabelVectors, rows_QM: Array, k: int) -> tuple[Array, Array]:
    """Scores and rows (Q, K) of the best k candidates by their true scores; places without one (-1) are last.

    Naive: every pair by `dot_pairs`, rounded to float32, then sorted by (-score, row).
    """
    if isinstance(vectors, HeldVectors):
        rows_QM, scores_QM = _of_held(queries_QD, vectors, rows_QM, k)
    else:
        scores_QM = _of_others(queries_QD, vectors, rows_QM)
    queries_Q1, order_QK = np.arange(len(rows_QM))[:, None], np.lexsort((rows_QM, -scores_QM), axis=1)[:, :k]
    return scores_QM[queries_Q1, order_QK], rows_QM[queries_Q1, order_QK]


def is_one(queries_QD: Array, rows_QM: Array) -> bool:
    """Whether this is a single query whose candidates take less time to score than to sift."""
    return len(rows_QM) == 1 and rows_QM.size * queries_QD.size <= NUMBERS


def _of_held(queries_QD: Array, vectors: HeldVectors, rows_QM: Array, k: int) -> tuple[Array, Array]:
    """Candidates that may be among the best k, the best k of each query for sure, and their scores."""
    norms_Q = norms(queries_QD)
    if rows_QM.shape[1] > k + FEW and not is_one(queries_QD, rows_QM):
        rows_QM = _near_the_best(queries_QD, vectors, rows_QM, k, 2 * vectors.score_error.of(norms_Q))
    most_Q, scores_QM = vectors.longest * norms_Q, np.empty(rows_QM.shape, np.float32)
    step = max(1, NUMBERS // max(1, rows_QM.shape[1] * queries_QD.shape[1]))
    for start in range(0, len(rows_QM), step):
        part = slice(start, start + step)
        scores_QM[part] = rounded_dots(queries_QD[part], vectors.take(rows_QM[part]), most_Q=most_Q[part])
    scores_QM[rows_QM < 0] = -np.inf
    return rows_QM, scores_QM


def _near_the_best(queries_QD: Array, vectors: HeldVectors, rows_QM: Array, k: int, margins_Q: Array) -> Array:
    """Of each query the rows whose float32 scores leave it open that they are among the best k; as many of all."""
    quick_QM = vectors.scores(queries_QD, rows_QM)
    order_QM = (-quick_QM).argsort(axis=1)
    falling_QM = np.take_along_axis(quick_QM, order_QM, axis=1)
    most = columns_above(falling_QM, falling_QM[:, k - 1] - margins_Q)
    return np.take_along_axis(rows_QM, order_QM[:, : max(k, most)], axis=1)


def columns_above(falling_QM: Array, limits_Q: Array) -> int:
    """In how many columns of falling scores some query has one of at least its limit; places without a label have none.

    >>> columns_above(np.array([[3.0, 2.0, 1.0], [9.0, 4.0, -np.inf]]), np.array([2.0, -np.inf]))
    2
    """
    limits_Q1 = np.maximum(limits_Q, _NONE)[:, None]
    return int(np.count_nonzero((falling_QM >= limits_Q1).any(axis=0)))


def _of_others(queries_QD: Array, vectors: LabelVectors, rows_QM: Array) -> Array:
    """The scores of all candidates, pair by pair."""
    query_rows_P, columns_P = np.nonzero(rows_QM >= 0)
    scores_QM = np.full(rows_QM.shape, -np.inf, dtype=np.float32)
    step = max(1, NUMBERS // queries_QD.shape[1])
    for start in range(0, len(columns_P), step):
        places = query_rows, _ = query_rows_P[start : start + step], columns_P[start : start + step]
        scores_QM[places] = dot_pairs(queries_QD[query_rows], vectors.take(rows_QM[places]))
    return scores_QM
