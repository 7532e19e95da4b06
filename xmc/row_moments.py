"""Mean and variance of each query's scores: all that a loss of the spherical family needs of a row.

The sums run in float64 and the squares are taken after the mean is subtracted, so that a mean far above the spread
costs no digits. Rows are walked in blocks that fit the cache; nothing of size (Q, C) is kept but the scores.

Shapes: Q queries, C scored labels, P (query, positive) pairs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xmc.row_reduction import row_blocks, working_dtype


def row_moments(
    scores_QC: Tensor, positive_rows_P: Tensor, positive_columns_P: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The positives' scores (P,), the mean and the population variance of every row (Q,); differentiable once.

    Same as `scores_QC[rows, columns], scores_QC.mean(dim=1), scores_QC.var(dim=1, correction=0)` in float64, the dtype
    of all three answers; the gradient has the scores' dtype. Σo² is C · (variance + mean²).

    >>> scores_QC = torch.tensor([[3.0, 0.0, 0.0]])
    >>> [each.tolist() for each in row_moments(scores_QC, torch.tensor([0]), torch.tensor([0]))]
    [[3.0], [1.0], [2.0]]
    """
    answer: tuple[Tensor, Tensor, Tensor] = _RowMoments.apply(scores_QC, positive_rows_P, positive_columns_P)
    return answer


class _RowMoments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores_QC: Tensor, rows_P: Tensor, columns_P: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        queries, columns = scores_QC.shape
        mean_Q = scores_QC.new_empty(queries, dtype=torch.float64)
        variance_Q = torch.empty_like(mean_Q)
        for rows, _ in row_blocks(scores_QC, rows_P):
            block_RC = scores_QC[rows].double()
            mean_R1 = block_RC.sum(dim=1, keepdim=True) / columns
            centred_RC = block_RC - mean_R1
            mean_Q[rows] = mean_R1.squeeze(1)
            variance_Q[rows] = torch.linalg.vecdot(centred_RC, centred_RC) / columns
        ctx.save_for_backward(scores_QC, rows_P, columns_P, mean_Q)
        return scores_QC[rows_P, columns_P].double(), mean_Q, variance_Q

    @staticmethod
    def backward(
        ctx: Any, gradient_P: Tensor, mean_gradient_Q: Tensor, variance_gradient_Q: Tensor
    ) -> tuple[Tensor, None, None]:
        if torch.is_grad_enabled():  # create_graph=True: better an error than a second derivative without these terms
            raise NotImplementedError("the row moments of xmc can be differentiated once, not twice")
        scores_QC, rows_P, columns_P, mean_Q = ctx.saved_tensors
        dtype, columns = working_dtype(scores_QC), scores_QC.shape[1]
        slope_Q, offset_Q = variance_gradient_Q * (2 / columns), mean_gradient_Q / columns
        gradient_QC = torch.empty_like(scores_QC)
        for rows, pairs in row_blocks(scores_QC, rows_P):
            block_RC = scores_QC[rows].to(dtype) - mean_Q[rows].to(dtype).unsqueeze(1)
            block_RC.mul_(slope_Q[rows].to(dtype).unsqueeze(1)).add_(offset_Q[rows].to(dtype).unsqueeze(1))
            own = (rows_P[pairs] - rows.start, columns_P[pairs])
            block_RC.index_put_(own, gradient_P[pairs].to(dtype), accumulate=True)
            gradient_QC[rows] = block_RC
        return gradient_QC, None, None
