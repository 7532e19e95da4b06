"""The part of a factored label matrix that a batch sees: its positives' rows, and its scores' statistics.

Shapes: Q queries, D width, P (query, positive) pairs, T distinct labels among the positives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xmc_zloss.factored_matrix import FactoredMatrix


class ScoreStatistics(NamedTuple):
    """The positives' scores (P,), and mean and variance over all labels of each query's scores (Q,); or a gradient."""

    scores_P: Tensor
    mean_Q: Tensor
    variance_Q: Tensor


@dataclass(frozen=True)
class FactoredBatch:
    """A batch of queries and, of the label matrix, the distinct rows among its positives, all in float64.

    `labels_T` are the distinct label rows, `touched_P` says which of them a pair has: so nothing here has L rows.
    """

    matrix: FactoredMatrix
    queries_QD: Tensor
    query_rows_P: Tensor
    labels_T: Tensor
    touched_P: Tensor
    rows_TD: Tensor

    @classmethod
    def of(
        cls, matrix: FactoredMatrix, queries_QD: Tensor, query_rows_P: Tensor, label_rows_P: Tensor
    ) -> FactoredBatch:
        """Look up what the batch needs of the matrix; valid until the matrix changes."""
        labels_T, touched_P = torch.unique(label_rows_P, return_inverse=True)
        rows_TD = matrix.rows(labels_T)
        return cls(matrix, queries_QD.detach().double(), query_rows_P, labels_T, touched_P, rows_TD)

    def statistics(self) -> ScoreStatistics:
        """Of scores_QL = queries_QD @ W.T: those of the positives, and each row's mean and population variance.

        >>> matrix = FactoredMatrix.from_dense(torch.tensor([[1.0, 0.0], [3.0, 0.0]]))
        >>> batch = FactoredBatch.of(matrix, torch.tensor([[2.0, 1.0]]), torch.tensor([0]), torch.tensor([1]))
        >>> [each.tolist() for each in batch.statistics()]
        [[6.0], [4.0], [4.0]]
        """
        queries_QD = self.queries_QD
        scores_P = torch.linalg.vecdot(self.rows_TD[self.touched_P], queries_QD[self.query_rows_P])
        variance_Q = torch.linalg.vecdot(queries_QD @ self.matrix.gram_DD, queries_QD) / self.matrix.labels
        return ScoreStatistics(scores_P, queries_QD @ self.matrix.mean_D, variance_Q.clamp(min=0.0))

    def queries_gradient(self, gradient: ScoreStatistics) -> Tensor:
        """The gradient with respect to the queries, (Q, D), from that with respect to the statistics."""
        curvature_Q1 = (2 / self.matrix.labels) * gradient.variance_Q.unsqueeze(1)
        gradient_QD = curvature_Q1 * (self.queries_QD @ self.matrix.gram_DD)
        gradient_QD += torch.outer(gradient.mean_Q, self.matrix.mean_D)
        return gradient_QD + self.sum_to_queries(gradient.scores_P)

    def sum_to_queries(self, weights_P: Tensor) -> Tensor:
        """Σ over a query's pairs of weight · row of the label, (Q, D)."""
        weighted_PD = weights_P.unsqueeze(1) * self.rows_TD[self.touched_P]
        return torch.zeros_like(self.queries_QD).index_add_(0, self.query_rows_P, weighted_PD)

    def sum_to_labels(self, weights_P: Tensor, vectors_QD: Tensor) -> Tensor:
        """Σ over a label's pairs of weight · vector of the query, (T, D)."""
        weighted_PD = weights_P.unsqueeze(1) * vectors_QD[self.query_rows_P]
        return torch.zeros_like(self.rows_TD).index_add_(0, self.touched_P, weighted_PD)
