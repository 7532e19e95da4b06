"""Bags of counts as TF-IDF vectors of length 1: what a linear model separates short texts by.

Shapes: N queries, F features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from xmc_linear.matrices import FloatArray

CONSTANT = 0.3  # the last feature of every query; its weight is a classifier's bias


def inverse_frequencies(features_NF: Any) -> FloatArray:
    """log((1 + N) / (1 + queries with the feature)) + 1, (F,).

    >>> inverse_frequencies(scipy.sparse.csr_matrix([[2.0, 0.0], [1.0, 1.0]])).round(3).tolist()
    [1.0, 1.405]
    """
    queries_F = np.bincount(features_NF.indices, minlength=features_NF.shape[1])
    found: FloatArray = np.log((1 + features_NF.shape[0]) / (1 + queries_F)) + 1.0
    return found


def tfidf_matrix(features_NF: Any, inverse_F: FloatArray) -> Any:
    """ln(1 + count) x inverse frequency, each row of length 1, then the constant: (N, F + 1) CSR float32.

    >>> counts_NF = scipy.sparse.csr_matrix([[1.0, 0.0], [1.0, 1.0]])
    >>> tfidf_matrix(counts_NF, np.array([3.0, 4.0])).toarray().astype(float).round(3).tolist()
    [[1.0, 0.0, 0.3], [0.6, 0.8, 0.3]]
    """
    rows_NF = scipy.sparse.csr_matrix(features_NF, copy=True)
    rows_NF.sum_duplicates()
    rows = np.repeat(np.arange(rows_NF.shape[0]), np.diff(rows_NF.indptr))
    weights = np.log1p(rows_NF.data) * inverse_F[rows_NF.indices]
    lengths_N = np.sqrt(np.bincount(rows, weights * weights, minlength=rows_NF.shape[0]))
    weights /= np.where(lengths_N > 0, lengths_N, 1.0)[rows]
    ends = rows_NF.indptr[1:]
    parts = (
        np.insert(weights, ends, CONSTANT).astype(np.float32),
        np.insert(rows_NF.indices, ends, rows_NF.shape[1]),
        rows_NF.indptr + np.arange(len(rows_NF.indptr)),
    )
    return scipy.sparse.csr_matrix(parts, shape=(rows_NF.shape[0], rows_NF.shape[1] + 1))
