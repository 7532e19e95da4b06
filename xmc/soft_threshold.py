"""The soft top k of a row: the one shift t at which the logistic memberships σ(slope · score + t) add up to k.

With s the slope, t solves Σ over labels l of σ(s·x_l + t) = k. It lies between logit(k/C) − s·max x and
logit(k/C) − s·min x, for one bound makes every membership at most k/C and the other at least k/C. Newton's method runs
inside that bracket; it halves the bracket where a step would leave it. Steps are taken on logit(Σ/C), which is a
straight line in t both where memberships are small and where scores are equal; the last one on Σ itself, whose error
is known: the second derivative of σ is at most its first, so a step δ misses by at most Σ'·(e^|δ| − 1 − |δ|).

Shapes: Q queries, C scored labels, P (query, positive) pairs, R rows of a block.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.row_reduction import row_blocks, working_dtype

MAX_PASSES = 100
GROUP = 64
EXACT_SUM_COLUMNS = 1_000_000
GAP_SLOPE = 1e-2
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def top_k_logits(
    scores_QC: Tensor, positive_rows_P: Tensor, positive_columns_P: Tensor, k_Q: Tensor, *, slope: float
) -> Tensor:
    """The logit slope · score + t of each positive's membership in the top k of its row, (P,); differentiable once.

    k is a whole number per row. Where k >= C every label is a member: the logits are +inf, their gradient 0. The
    memberships add up to k within 1e-5 · k (float64: 1e-12 · k). float16 and bfloat16 scores are computed in float32.

    Reference: the operator is that of Gupta et al., Dual-Encoders for Extreme Multi-label Classification, ICLR 2024.

    >>> scores_QC = torch.zeros(1, 4)
    >>> rows, columns, k_Q = torch.tensor([0]), torch.tensor([2]), torch.tensor([1])
    >>> top_k_logits(scores_QC, rows, columns, k_Q, slope=2.0).sigmoid().item()  # one place among four equal labels
    0.25
    """
    logits_P: Tensor = _TopKLogits.apply(scores_QC, positive_rows_P, positive_columns_P, k_Q, slope)
    return logits_P


class _TopKLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores_QC: Tensor, rows_P: Tensor, columns_P: Tensor, k_Q: Tensor, slope: float) -> Tensor:
        centre_Q = scores_QC.new_empty(scores_QC.shape[0], dtype=working_dtype(scores_QC))
        shift_Q = torch.empty_like(centre_Q, dtype=torch.float64)
        for rows, _ in row_blocks(scores_QC, rows_P):
            centre_Q[rows], shift_Q[rows] = solve_threshold(scores_QC[rows], k_Q[rows], slope=slope)
        ctx.save_for_backward(scores_QC, rows_P, columns_P, centre_Q, shift_Q)
        ctx.slope = slope
        logits_P = (scores_QC[rows_P, columns_P].double() - centre_Q[rows_P].double()) * slope + shift_Q[rows_P]
        return logits_P.to(centre_Q.dtype)

    @staticmethod
    def backward(ctx: Any, gradient_P: Tensor) -> tuple[Tensor, None, None, None, None]:
        if torch.is_grad_enabled():  # create_graph=True: better an error than a second derivative without these terms
            raise NotImplementedError("the soft top k of xmc can be differentiated once, not twice")
        scores_QC, rows_P, columns_P, centre_Q, shift_Q = ctx.saved_tensors
        gradient_P = gradient_P * ctx.slope
        gradient_Q = torch.zeros_like(centre_Q).index_add_(0, rows_P, gradient_P)
        gradient_QC = torch.empty_like(scores_QC)
        for rows, pairs in row_blocks(scores_QC, rows_P):
            logits_RC = _centred(scores_QC[rows], centre_Q[rows], ctx.slope).add_(_column(shift_Q[rows], centre_Q))
            block_RC = _mobility(logits_RC, shift_Q[rows]).mul_(-gradient_Q[rows].unsqueeze(1))
            own = (rows_P[pairs] - rows.start, columns_P[pairs])
            solved_P = shift_Q[rows][own[0]].isfinite()
            block_RC.index_put_(own, torch.where(solved_P, gradient_P[pairs], 0.0), accumulate=True)
            gradient_QC[rows] = block_RC
        return gradient_QC, None, None, None, None


def solve_threshold(scores_RC: Tensor, k_R: Tensor, *, slope: float) -> tuple[Tensor, Tensor]:
    """Centre and shift of each row, (R,) and (R,) float64, with Σ σ(slope · (score − centre) + shift) = k.

    The shift is +inf where k >= C and -inf where k <= 0. A centre near the k-th score keeps the digits that matter.
    """
    columns = scores_RC.shape[1]
    k_R = k_R.to(torch.float64)
    solvable_R = (k_R > 0) & (k_R < columns)
    target_R = k_R.where(solvable_R, torch.full_like(k_R, min(1.0, columns / 2)))  # any number with a solution
    centre_R = _near_kth_largest(scores_RC, target_R)
    centred_RC = _centred(scores_RC, centre_R, slope)
    shift_R, gap_R = _newton(centred_RC, target_R)
    gap_R = gap_R & solvable_R
    if bool(gap_R.any()):
        shift_R[gap_R] = _middle_of_gap(centred_RC[gap_R], shift_R[gap_R], target_R[gap_R])
    endless_R = torch.full_like(k_R, torch.inf).copysign(k_R - 0.5)
    return centre_R, torch.where(solvable_R, shift_R, endless_R)


def _newton(centred_RC: Tensor, k_R: Tensor) -> tuple[Tensor, Tensor]:
    """The shift of each row and whether it lies in a gap, where the sum is k already but the shift is open."""
    columns = centred_RC.shape[1]
    tolerance_R = k_R * TOLERANCE[centred_RC.dtype]
    middle_R = torch.logit(k_R / columns)
    low_R, high_R = middle_R - centred_RC.amax(dim=1).double(), middle_R - centred_RC.amin(dim=1).double()
    shift_R = torch.zeros_like(k_R).clamp(low_R, high_R)
    open_R, gap_R = torch.ones_like(k_R, dtype=torch.bool), torch.zeros_like(k_R, dtype=torch.bool)
    work_RC = torch.empty_like(centred_RC)
    for _ in range(MAX_PASSES):
        sum_R, slope_R = _memberships(centred_RC, shift_R, work_RC)
        excess_R = sum_R - k_R
        low_R, high_R = torch.where(excess_R <= 0, shift_R, low_R), torch.where(excess_R >= 0, shift_R, high_R)
        last_R = -excess_R / slope_R
        near_R = slope_R * (last_R.abs().expm1() - last_R.abs()) <= tolerance_R
        gap_R |= open_R & (slope_R < GAP_SLOPE) & (excess_R.abs() < 0.5)
        logit_step_R = (middle_R - torch.logit(sum_R / columns)) * sum_R * (1 - sum_R / columns) / slope_R
        next_R = shift_R + torch.where(near_R, last_R, logit_step_R)
        inside_R = (next_R >= low_R) & (next_R <= high_R)  # False for NaN
        next_R = torch.where(inside_R, next_R, (low_R + high_R) / 2)
        shift_R = torch.where(open_R & ~gap_R, next_R, shift_R)
        open_R &= ~(near_R | gap_R | (high_R - low_R <= tolerance_R / columns))
        if not bool(open_R.any()):
            break
    return shift_R, gap_R


def _memberships(centred_RC: Tensor, shift_R: Tensor, work_RC: Tensor) -> tuple[Tensor, Tensor]:
    """Σ σ(z) and its derivative Σ σ(z)(1 − σ(z)), float64: one pass over the scores."""
    torch.add(centred_RC, _column(shift_R, centred_RC), out=work_RC).sigmoid_()
    exact = torch.float64 if centred_RC.shape[1] > EXACT_SUM_COLUMNS else None
    sum_R = work_RC.sum(dim=1, dtype=exact).double()
    squares_R = torch.linalg.vector_norm(work_RC, dim=1).double().square()
    return sum_R, (sum_R - squares_R).clamp(min=torch.finfo(torch.float64).tiny)


def _middle_of_gap(centred_GC: Tensor, shift_G: Tensor, k_G: Tensor) -> Tensor:
    """The shift of rows whose k best labels stand apart: members lack as much as the others have too much.

    There Σ − k drowns in rounding, but log Σ_{others} σ(z) and log Σ_{members} σ(−z) do not, and they move with slopes
    1 and −1 to within `GAP_SLOPE`.
    """
    start_G, tolerance = shift_G, TOLERANCE[centred_GC.dtype]
    centred_GC = centred_GC.double()
    for step in range(12):
        logits_GC = centred_GC + shift_G.unsqueeze(1)
        member_GC = logits_GC >= 0
        if step == 0:
            sure_G = member_GC.sum(dim=1) == k_G
            lowest_G = logits_GC.masked_fill(~member_GC, torch.inf).amin(dim=1)
            highest_G = logits_GC.masked_fill(member_GC, -torch.inf).amax(dim=1)
            move_G = -(lowest_G + highest_G) / 2
        else:
            small_GC = logsigmoid(-logits_GC.abs())
            lack_G = small_GC.masked_fill(~member_GC, -torch.inf).logsumexp(dim=1)
            move_G = (lack_G - small_GC.masked_fill(member_GC, -torch.inf).logsumexp(dim=1)) / 2
        shift_G = shift_G + move_G
        if step and bool((move_G.abs() <= tolerance).all()):
            break
    return torch.where(sure_G, shift_G, start_G)


def _near_kth_largest(scores_RC: Tensor, k_R: Tensor) -> Tensor:
    """A score of each row near its k-th largest: the k-th of the largest of groups; the mean where k is too large."""
    columns, largest_k, dtype = scores_RC.shape[1], max(1, int(k_R.max())), working_dtype(scores_RC)
    if largest_k > columns // 4:
        return scores_RC.to(dtype).mean(dim=1)
    groups = columns // GROUP
    if largest_k <= groups // 4:
        scores_RC = scores_RC[:, : groups * GROUP].unflatten(1, (groups, GROUP)).amax(dim=2)
    ranked_RK = scores_RC.topk(largest_k, dim=1).values
    return ranked_RK.gather(1, (k_R.long() - 1).clamp(min=0).unsqueeze(1)).squeeze(1).to(dtype)


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


def _centred(scores_RC: Tensor, centre_R: Tensor, slope: float) -> Tensor:
    return (scores_RC.to(centre_R.dtype) - centre_R.unsqueeze(1)).mul_(slope)


def _column(values_R: Tensor, like: Tensor) -> Tensor:
    return values_R.to(like.dtype).unsqueeze(1)
