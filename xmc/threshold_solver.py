"""The threshold of a soft top k: the one shift t at which the memberships σ(slope · score + t) of a row add up to k.

With s the slope, t solves Σ over labels l of σ(s·x_l + t) = k. It lies between logit(k/C) − s·max x and
logit(k/C) − s·min x, for one bound makes every membership at most k/C and the other at least k/C. Newton's method runs
inside that bracket; it halves the bracket where a step would leave it. Steps are taken on logit(Σ/C), which is a
straight line in t both where memberships are small and where scores are equal; the last one on Σ itself, whose error
is known: the second derivative of σ is at most its first, so a step δ misses by at most Σ'·(e^|δ| − 1 − |δ|).

Shapes: R rows, C scored labels, G rows whose threshold lies in a gap.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.row_reduction import working_dtype

MAX_PASSES = 100
GROUP = 64
EXACT_SUM_COLUMNS = 1_000_000
GAP_SLOPE = 1e-2
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-14}


def solve_threshold(
    scores_RC: Tensor, k_R: Tensor, *, slope: float, labels_R: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Centre and shift of each row, (R,) and (R,) float64, with Σ σ(slope · (score − centre) + shift) = k.

    The shift is +inf where k >= C and -inf where k <= 0. A centre near the k-th score keeps the digits that matter.
    Where labels are skipped, `labels_R` says how many of each row are not, and the others' scores are -inf.
    """
    k_R = k_R.to(torch.float64)
    labels_R = torch.full_like(k_R, scores_RC.shape[1]) if labels_R is None else labels_R.to(torch.float64)
    solvable_R = (k_R > 0) & (k_R < labels_R)
    target_R = k_R.where(solvable_R, (labels_R / 2).clamp(max=1.0))  # any number with a solution
    centre_R = _near_kth_largest(scores_RC, target_R)
    if bool((centre_R == -torch.inf).any()):
        centre_R = centre_R.where(centre_R > -torch.inf, _mean(scores_RC, centre_R.dtype))
    centred_RC = centred(scores_RC, centre_R, slope)
    shift_R, gap_R = _newton(centred_RC, target_R, labels_R)
    if bool(gap_R.any()):
        shift_R[gap_R] = _middle_of_gap(centred_RC[gap_R], shift_R[gap_R], target_R[gap_R])
    endless_R = torch.full_like(k_R, torch.inf).copysign(k_R - 0.5)
    return centre_R, torch.where(solvable_R, shift_R, endless_R)


def _newton(centred_RC: Tensor, k_R: Tensor, labels_R: Tensor) -> tuple[Tensor, Tensor]:
    """The shift of each row and whether it lies in a gap, where the sum is k already but the shift is open."""
    tolerance_R = k_R * TOLERANCE[centred_RC.dtype]
    middle_R = _logit_of_share(k_R, labels_R)
    low_R, high_R = middle_R - centred_RC.amax(dim=1).double(), middle_R - _smallest(centred_RC).double()
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
        logit_step_R = (middle_R - _logit_of_share(sum_R, labels_R)) * sum_R * (1 - sum_R / labels_R) / slope_R
        next_R = shift_R + torch.where(near_R, last_R, logit_step_R)
        inside_R = (next_R >= low_R) & (next_R <= high_R)  # False for NaN
        next_R = torch.where(inside_R, next_R, (low_R + high_R) / 2)
        shift_R = torch.where(open_R & ~gap_R, next_R, shift_R)
        open_R &= ~(near_R | gap_R | (high_R - low_R <= tolerance_R / labels_R))
        if not bool(open_R.any()):
            break
    return shift_R, gap_R


def _logit_of_share(part_R: Tensor, whole_R: Tensor) -> Tensor:
    """`torch.logit(part / whole)`, which wakes all threads even for a few rows: long waits where the cores are busy."""
    return (part_R / (whole_R - part_R)).log()


def _memberships(centred_RC: Tensor, shift_R: Tensor, work_RC: Tensor) -> tuple[Tensor, Tensor]:
    """Σ σ(z) and its derivative Σ σ(z)(1 − σ(z)), float64: one pass over the scores."""
    torch.add(centred_RC, column(shift_R, centred_RC), out=work_RC).sigmoid_()
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


def _mean(scores_RC: Tensor, dtype: torch.dtype) -> Tensor:
    """The mean of each row's scores that are not skipped, (R,)."""
    taken_RC = scores_RC > -torch.inf
    return scores_RC.to(dtype).masked_fill(~taken_RC, 0.0).sum(dim=1) / taken_RC.sum(dim=1).clamp(min=1)


def _smallest(logits_RC: Tensor) -> Tensor:
    """The smallest of each row that is not skipped, (R,)."""
    smallest_R = logits_RC.amin(dim=1)
    if bool((smallest_R == -torch.inf).any()):
        smallest_R = logits_RC.masked_fill(logits_RC == -torch.inf, torch.inf).amin(dim=1)
    return smallest_R


def centred(scores_RC: Tensor, centre_R: Tensor, slope: float) -> Tensor:
    """slope · (score − centre), a new tensor in the dtype of the centre, (R, C)."""
    return (scores_RC.to(centre_R.dtype) - centre_R.unsqueeze(1)).mul_(slope)


def column(values_R: Tensor, like: Tensor) -> Tensor:
    """(R, 1), in the dtype of `like`."""
    return values_R.to(like.dtype).unsqueeze(1)
