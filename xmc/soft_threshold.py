"""The soft top k of a row: the logistic memberships σ(slope · score + t) that add up to k, differentiable.

Shapes: Q queries, C scored labels, P (query, positive) pairs, S skipped (query, label) pairs, R rows of a block.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xmc.row_reduction import Skipped, row_blocks, working_dtype
from xmc.threshold_solver import centred, column, solve_threshold


def top_k_logits(
    scores_QC: Tensor,
    positive_rows_P: Tensor,
    positive_columns_P: Tensor,
    k_Q: Tensor,
    *,
    slope: float,
    skipped: Skipped | None = None,
) -> Tensor:
    """The logit slope · score + t of each positive's membership in the top k of its row, (P,); differentiable once.

    k is a whole number per row. Where k >= C every label is a member: the logits are +inf, their gradient 0. The
    memberships add up to k within 1e-5 · k (float64: 1e-12 · k). float16 and bfloat16 scores are computed in float32.
    A skipped label is no member, takes no place and has gradient 0.

    Reference: the operator is that of Gupta et al., Dual-Encoders for Extreme Multi-label Classification, ICLR 2024.

    >>> scores_QC = torch.zeros(1, 4)
    >>> rows, columns, k_Q = torch.tensor([0]), torch.tensor([2]), torch.tensor([1])
    >>> top_k_logits(scores_QC, rows, columns, k_Q, slope=2.0).sigmoid().item()  # one place among four equal labels
    0.25
    """
    logits_P: Tensor = _TopKLogits.apply(scores_QC, positive_rows_P, positive_columns_P, k_Q, slope, skipped)
    return logits_P


class _TopKLogits(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores_QC: Tensor,
        rows_P: Tensor,
        columns_P: Tensor,
        k_Q: Tensor,
        slope: float,
        skipped: Skipped | None,
    ) -> Tensor:
        centre_Q = scores_QC.new_empty(scores_QC.shape[0], dtype=working_dtype(scores_QC))
        shift_Q = torch.empty_like(centre_Q, dtype=torch.float64)
        for rows, _ in row_blocks(scores_QC, rows_P):
            block_RC, places_R = _block(scores_QC, rows, skipped), k_Q[rows]
            labels_R = (block_RC > -torch.inf).sum(dim=1) if skipped else None
            centre_Q[rows], shift_Q[rows] = solve_threshold(block_RC, places_R, slope=slope, labels_R=labels_R)
        ctx.save_for_backward(scores_QC, rows_P, columns_P, centre_Q, shift_Q)
        ctx.slope, ctx.skipped = slope, skipped
        logits_P = (scores_QC[rows_P, columns_P].double() - centre_Q[rows_P].double()) * slope + shift_Q[rows_P]
        return logits_P.to(centre_Q.dtype)

    @staticmethod
    def backward(ctx: Any, gradient_P: Tensor) -> tuple[Tensor, None, None, None, None, None]:
        if torch.is_grad_enabled():  # create_graph=True: better an error than a second derivative without these terms
            raise NotImplementedError("the soft top k of xmc can be differentiated once, not twice")
        scores_QC, rows_P, columns_P, centre_Q, shift_Q = ctx.saved_tensors
        gradient_P = gradient_P * ctx.slope
        gradient_Q = torch.zeros_like(centre_Q).index_add_(0, rows_P, gradient_P)
        gradient_QC = torch.empty_like(scores_QC)
        for rows, pairs in row_blocks(scores_QC, rows_P):
            scores_RC = _block(scores_QC, rows, ctx.skipped)
            logits_RC = centred(scores_RC, centre_Q[rows], ctx.slope).add_(column(shift_Q[rows], centre_Q))
            block_RC = _mobility(logits_RC, shift_Q[rows]).mul_(-gradient_Q[rows].unsqueeze(1))
            own = (rows_P[pairs] - rows.start, columns_P[pairs])
            solved_P = shift_Q[rows][own[0]].isfinite()
            block_RC.index_put_(own, torch.where(solved_P, gradient_P[pairs], 0.0), accumulate=True)
            if ctx.skipped:
                ctx.skipped.put(0.0, block_RC, rows)
            gradient_QC[rows] = block_RC
        return gradient_QC, None, None, None, None, None


def _mobility(logits_RC: Tensor, shift_R: Tensor) -> Tensor:
    """The share of each label in a move of the threshold, σ(z)σ(−z) over its row sum; 0 where there is no threshold."""
    distance_RC = logits_RC.abs_().neg_()  # σ(z)σ(−z) is even in z, and 1 − σ(z) would lose digits
    weights_RC = distance_RC.sigmoid()
    weights_RC.addcmul_(weights_RC, weights_RC, value=-1)
    total_R = weights_RC.sum(dim=1)
    weights_RC.mul_(torch.where(total_R > 0, total_R.reciprocal(), 0.0).unsqueeze(1))
    vanished_R = (total_R == 0) & shift_R.isfinite()
    if bool(vanished_R.any()):  # every label is so far from the threshold that σ(z)σ(−z) = exp(−|z|) underflows
        weights_RC[vanished_R] = distance_RC[vanished_R].softmax(dim=1)
    return weights_RC


def _block(scores_QC: Tensor, rows: slice, skipped: Skipped | None) -> Tensor:
    """The scores of these rows, in a copy with -inf at the skipped labels if there are any."""
    if skipped is None:
        return scores_QC[rows]
    block_RC = scores_QC[rows].clone()
    skipped.put(-torch.inf, block_RC, rows)
    return block_RC
