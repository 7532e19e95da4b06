"""Which queries a label is taught to reject: those of like labels, or those on which a model ranks it high.

Shapes: N queries, L labels, K clusters or results.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse

from xmc_linear.clusters import balanced_clusters, label_directions
from xmc_linear.matrices import IntArray


def matched_shortlist(features_NF: Any, relevance_NL: Any, *, cluster_size: int, seed: int) -> Any:
    """For each query all labels in the clusters of its positives, (N, L) CSR of ones.

    Labels are put into balanced clusters of at most `cluster_size` by the queries that they are relevant to; a label
    without positives is in none.
    Reference: Prabhu et al. 2018, Parabel, section 3; Yu et al. 2022, PECOS, section 3.2 (teacher forcing negatives).
    """
    used = np.flatnonzero(np.diff(relevance_NL.tocsc().indptr))
    if not len(used):
        return relevance_NL.copy()
    directions_LD = label_directions(features_NF, relevance_NL, seed=seed)
    clusters = balanced_clusters(directions_LD[used], most=cluster_size, seed=seed)
    ones = np.ones(len(used), np.float32)
    member_LK = scipy.sparse.csr_matrix(
        (ones, (used, clusters)), shape=(relevance_NL.shape[1], int(clusters.max()) + 1)
    )
    return _ones(relevance_NL @ member_LK @ member_LK.T)


def listed(rows_NK: np.ndarray[Any, Any], *, labels: int) -> Any:
    """A table of label rows, a row for each query, as an (N, L) CSR matrix of ones."""
    queries, count = rows_NK.shape
    offsets = np.arange(queries + 1) * count
    ones = np.ones(rows_NK.size, np.float32)
    return _ones(scipy.sparse.csr_matrix((ones, rows_NK.ravel(), offsets), shape=(queries, labels)))


def of_rows(support: list[IntArray], *, queries: int) -> Any:
    """For each label some query rows, as an (N, L) CSR matrix of ones."""
    columns = np.repeat(np.arange(len(support)), [len(rows) for rows in support])
    rows = np.concatenate([np.zeros(0, np.int64), *support])
    return scipy.sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(queries, len(support)))


def negatives(shortlist_NL: Any, relevance_NL: Any) -> Any:
    """The shortlist without the positives, ones.

    >>> one = scipy.sparse.csr_matrix([[1.0, 1.0, 0.0]])
    >>> negatives(one, scipy.sparse.csr_matrix([[0.0, 1.0, 1.0]])).toarray().tolist()
    [[1.0, 0.0, 0.0]]
    """
    shortlist_NL = _ones(shortlist_NL)
    left_NL = shortlist_NL - shortlist_NL.multiply(_ones(relevance_NL))
    left_NL = left_NL.tocsr()
    left_NL.eliminate_zeros()
    return left_NL


def _ones(matrix_NL: Any) -> Any:
    found_NL = scipy.sparse.csr_matrix(matrix_NL, copy=True)
    found_NL.sum_duplicates()
    found_NL.data = np.ones(len(found_NL.data), np.float32)
    return found_NL
