"""SciPy matrices of features and of relevance, and what is done with their rows.

Shapes: N queries, F features, L labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from xmc.api import Hits, Positives

IntArray = np.ndarray[tuple[int], np.dtype[np.int64]]
FloatArray = np.ndarray[tuple[int], np.dtype[np.float64]]
FloatMatrix = np.ndarray[tuple[int, int], np.dtype[np.float32]]


def relevance_matrix(positives: Positives | Hits, *, labels: int) -> Any:
    """1 where a label is relevant to a query, or a hit of it, (N, L) CSR; weights and scores are left aside."""
    ones = np.ones(len(positives.label_rows), np.float32)
    return scipy.sparse.csr_matrix((ones, positives.label_rows, positives.offsets), shape=(len(positives), labels))


def ragged(matrix_RC: Any) -> tuple[IntArray, IntArray]:
    """Offsets (C + 1,) and row numbers, ascending, of the non-zeros in each column.

    >>> offsets, rows = ragged(scipy.sparse.csr_matrix([[1, 0], [1, 1]]))
    >>> offsets.tolist(), rows.tolist()
    ([0, 2, 3], [0, 1, 1])
    """
    columns = matrix_RC.tocsc()
    columns.sort_indices()
    return columns.indptr.astype(np.int64), columns.indices.astype(np.int64)


def on_own_features(rows_NF: Any) -> tuple[Any, IntArray]:
    """The matrix over only the features that occur in it, and which those are, ascending."""
    occurs_F = np.zeros(rows_NF.shape[1], bool)
    occurs_F[rows_NF.indices] = True
    own = np.flatnonzero(occurs_F)
    position_F = np.cumsum(occurs_F, dtype=np.int32) - 1
    parts = (rows_NF.data, position_F[rows_NF.indices], rows_NF.indptr)
    return scipy.sparse.csr_matrix(parts, shape=(rows_NF.shape[0], len(own))), own


def largest_of_rows(matrix_RC: Any, count: int) -> Any:
    """The matrix with only the `count` entries of largest absolute value in each row; ties go to the lower column.

    >>> largest_of_rows(scipy.sparse.csr_matrix([[1.0, -3.0, 2.0], [0.0, 5.0, 0.0]]), 2).toarray().tolist()
    [[0.0, -3.0, 2.0], [0.0, 5.0, 0.0]]
    """
    matrix_RC = matrix_RC.tocsr()
    matrix_RC.sort_indices()
    lengths = np.diff(matrix_RC.indptr)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    order = np.lexsort((matrix_RC.indices, -np.abs(matrix_RC.data), rows))
    kept = np.sort(order[np.arange(len(order)) - matrix_RC.indptr[rows] < count])
    offsets = np.concatenate(([0], np.cumsum(np.minimum(lengths, count)))).astype(np.int64)
    return scipy.sparse.csr_matrix((matrix_RC.data[kept], matrix_RC.indices[kept], offsets), shape=matrix_RC.shape)


def random_directions(features_NF: Any, *, dimension: int, seed: int) -> FloatMatrix:
    """The rows times a random Gaussian matrix, (N, dimension): angles are kept up to 1 / √dimension or so."""
    basis_FD = np.random.default_rng(seed).standard_normal((features_NF.shape[1], dimension), dtype=np.float32)
    projected_ND: FloatMatrix = features_NF @ basis_FD
    return projected_ND
