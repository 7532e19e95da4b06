"""The candidates of an index of codes or of a graph, scored again with the full vectors: the best of them.

Shapes: Q queries, M candidates, K wanted.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xmc.api import dot_pairs
from xmc_index_faiss.label_vectors import HeldVectors, LabelVectors

NUMBERS = 65_536  # of pairs at a time, which stay in a cache
FEW_PAIRS = 16  # as many are scored exactly at once in the time of finding out which need not be

Array = np.ndarray[Any, Any]


def best_rescored(queries_QD: Array, vectors: LabelVectors, rows_QM: Array, k: int) -> tuple[Array, Array]:
    """Scores and rows (Q, K) of the best k candidates by their true scores; places without one (-1) are last.

    Naive: every pair by `dot_pairs`, rounded to float32, then sorted by (-score, row).
    """
    open_QM = rows_QM >= 0
    if isinstance(vectors, HeldVectors) and np.count_nonzero(open_QM) >= len(rows_QM) * k + FEW_PAIRS:
        open_QM &= _near_the_best(queries_QD, vectors, rows_QM, k)
    query_rows_P, columns_P = np.nonzero(open_QM)
    scores_QM = np.full(rows_QM.shape, -np.inf, dtype=np.float32)
    step = max(1, NUMBERS // queries_QD.shape[1])
    for start in range(0, len(columns_P), step):
        places = query_rows_P[start : start + step], columns_P[start : start + step]
        scores_QM[places] = dot_pairs(queries_QD[places[0]], vectors.take(rows_QM[places]))
    queries_Q1, order_QK = np.arange(len(rows_QM))[:, None], np.lexsort((rows_QM, -scores_QM), axis=1)[:, :k]
    return scores_QM[queries_Q1, order_QK], rows_QM[queries_Q1, order_QK]


def _near_the_best(queries_QD: Array, vectors: HeldVectors, rows_QM: Array, k: int) -> Array:
    """Whether a float32 score leaves it open that the true one is among the best k, (Q, M) bool."""
    quick_QM = vectors.scores(queries_QD, rows_QM)
    kth_Q = np.partition(quick_QM, -k, axis=1)[:, -k]
    near_QM: Array = quick_QM >= (kth_Q - 2 * vectors.score_errors(queries_QD))[:, None]
    return near_QM
