"""What a teacher said of the queries of a batch: a shortlist of labels for each, with its scores.

Shapes: Q queries, C scored labels, T (query, label) pairs of the shortlists.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class TeacherScores:
    """The pairs of a batch that the teacher scored, sorted by row, then column, each once.

    Every positive of a query that has a shortlist is on it. A query may have none (a label's text that joins the
    training queries, say). Shapes: `rows_T`, `columns_T` (T,) int64, `scores_T` (T,) finite, in units of the teacher.

    >>> import torch
    >>> teacher = TeacherScores.from_dense(torch.tensor([[0.5, torch.nan, 0.25]]))
    >>> teacher.columns_T.tolist(), teacher.scores_T.tolist()
    ([0, 2], [0.5, 0.25])
    """

    rows_T: Tensor
    columns_T: Tensor
    scores_T: Tensor

    @classmethod
    def from_dense(cls, scores_QC: Tensor) -> TeacherScores:
        """Those of a matrix in which NaN marks what is not on the shortlist."""
        rows_T, columns_T = scores_QC.isnan().logical_not().nonzero(as_tuple=True)
        return cls(rows_T, columns_T, scores_QC[rows_T, columns_T])

    def to(self, device: torch.device) -> TeacherScores:
        """The same on another device."""
        return TeacherScores(self.rows_T.to(device), self.columns_T.to(device), self.scores_T.to(device))

    def at(self, pairs: slice, *, first_row: int) -> TeacherScores:
        """These of the T pairs, rows counted from `first_row`."""
        return TeacherScores(self.rows_T[pairs] - first_row, self.columns_T[pairs], self.scores_T[pairs])
