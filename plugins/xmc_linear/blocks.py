"""The training rows of several labels side by side, as one block-diagonal problem.

Shapes: B labels, N rows of all of them, U features of all of them (a feature that two labels have counts twice).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from xmc_linear.matrices import FloatArray, IntArray


class Problem(NamedTuple):
    """The training rows of one label: positives and negatives, disjoint."""

    positive_rows: IntArray
    negative_rows: IntArray


class Blocks(NamedTuple):
    """Labels one after the other: label b has the rows with `labels_N == b` and the features with `labels_U == b`.

    `rows_NU` is float64 CSR; `signs_N` is 1 for positives, which come first in each label, and -1 for negatives;
    `features_U` are the features' numbers, ascending within a label. Label b's rows are those from `row_ends[b]` to
    `row_ends[b + 1]`, and its features lie between `feature_ends` in the same way.
    """

    rows_NU: Any
    signs_N: FloatArray
    features_U: IntArray
    labels_N: IntArray
    labels_U: IntArray
    row_ends: IntArray
    feature_ends: IntArray

    def sum_rows(self, values_N: FloatArray) -> FloatArray:
        """The sum over each label's rows, (B,)."""
        sums_B: FloatArray = np.add.reduceat(values_N, self.row_ends[:-1])
        return sums_B

    def sum_features(self, values_U: FloatArray) -> FloatArray:
        """The sum over each label's features, (B,)."""
        sums_B: FloatArray = np.add.reduceat(values_U, self.feature_ends[:-1])
        return sums_B


def side_by_side(features_MF: Any, problems: Sequence[Problem]) -> Blocks:
    """The blocks of problems over the rows of a float64 CSR matrix; each problem has rows, and these have features.

    >>> features = scipy.sparse.csr_matrix([[1.0, 2.0, 0.0], [0.0, 3.0, 4.0]])
    >>> one, other = Problem(np.array([1]), np.array([0])), Problem(np.array([0]), np.array([], np.int64))
    >>> blocks = side_by_side(features, [one, other])
    >>> blocks.rows_NU.toarray().tolist(), blocks.features_U.tolist()
    ([[0.0, 3.0, 4.0, 0.0, 0.0], [1.0, 2.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 2.0]], [0, 1, 2, 0, 1])
    """
    rows_NF = features_MF[np.concatenate([rows for problem in problems for rows in problem])]
    row_ends = np.cumsum([0, *(len(positives) + len(negatives) for positives, negatives in problems)])
    occurs_F, place_F = np.zeros(rows_NF.shape[1], bool), np.zeros(rows_NF.shape[1], np.int32)
    columns, owns, feature_ends = np.empty(rows_NF.nnz, np.int32), [], [0]
    indices = rows_NF.indices.astype(np.intp)  # as numpy would make them each time
    for start, end in pairwise(rows_NF.indptr[row_ends]):
        features = indices[start:end]
        occurs_F[features] = True
        owns.append(np.flatnonzero(occurs_F))
        occurs_F[owns[-1]] = False
        feature_ends.append(feature_ends[-1] + len(owns[-1]))
        place_F[owns[-1]] = np.arange(*feature_ends[-2:])
        place_F.take(features, out=columns[start:end], mode="clip")  # unbuffered, unlike "raise"
    labels_B = np.arange(len(problems))
    return Blocks(
        scipy.sparse.csr_matrix((rows_NF.data, columns, rows_NF.indptr), shape=(rows_NF.shape[0], feature_ends[-1])),
        np.concatenate([np.repeat([1.0, -1.0], [len(rows) for rows in problem]) for problem in problems]),
        np.concatenate(owns),
        labels_B.repeat(np.diff(row_ends)),
        labels_B.repeat(np.diff(feature_ends)),
        row_ends,
        np.array(feature_ends),
    )
