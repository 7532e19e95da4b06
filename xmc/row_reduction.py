"""Reduce each query's row of scores to one number, with a closed-form gradient and no second (Q, C) buffer.

Every loss of the softmax family and one-vs-all losses need two things of a row: the logits of its positives, and one
number over its other labels (or all). Both come from one autograd function here. It walks the rows in blocks that fit
the processor's cache, keeps nothing of size (Q, C) for the way back but the scores themselves, and recomputes there.

Shapes: Q queries, C scored labels, P (query, positive) pairs, S skipped (query, label) pairs, R rows of a block.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

BLOCK_ELEMENTS_CPU = 2**19
BLOCK_ELEMENTS_GPU = 2**26


@dataclass(frozen=True)
class Skipped:
    """(query, label) pairs that take no part, (S,) each, sorted by row."""

    rows_S: Tensor
    columns_S: Tensor

    def put(self, value: float, block_RC: Tensor, rows: slice) -> None:
        """Write `value` at the pairs of these rows into the block that holds them."""
        bounds = torch.tensor([rows.start, rows.stop], device=self.rows_S.device)
        first, last = torch.searchsorted(self.rows_S, bounds).tolist()
        block_RC[self.rows_S[first:last] - rows.start, self.columns_S[first:last]] = value


@dataclass(frozen=True)
class RowReduction:
    """What to compute: logit = score / temperature + bias; `skip_positives` leaves the positives' columns out.

    The temperature is one number, or one for each query, (Q,), of the dtype that is worked in.
    """

    kind: Literal["log-sum-exp", "softplus-sum"]
    skip_positives: bool
    temperature: float | Tensor = 1.0
    bias: float = 0.0

    def slope(self, rows: slice | Tensor) -> float | Tensor:
        """d logit / d score in these rows: one number, or one for each of them."""
        return self.temperature[rows].reciprocal() if isinstance(self.temperature, Tensor) else 1.0 / self.temperature

    def logits(self, scores: Tensor, rows: slice | Tensor, *, out: Tensor | None = None) -> Tensor:
        """The logits of these rows' scores, (R, C) or one of each, (P,), of at least single precision.

        They are written into `out`, where that is given, or into a new tensor.
        """
        slope = self.slope(rows)
        if isinstance(slope, Tensor) and scores.dim() == 2:
            slope = slope.unsqueeze(1)
        logits = torch.mul(scores.to(working_dtype(scores)), slope, out=out)
        return logits.add_(self.bias) if self.bias else logits

    def reduce(self, logits_RC: Tensor) -> Tensor:
        """The number of each row, (R,); writes into `logits_RC`, where -inf marks a column to leave out."""
        if self.kind == "softplus-sum":
            return torch.nn.functional.softplus(logits_RC, threshold=40.0).sum(dim=1)  # at 20 float64 would notice
        largest_R1 = largest_logits(logits_RC)
        return logits_RC.sub_(largest_R1).exp_().sum(dim=1).log_().add_(largest_R1.squeeze(1))

    def derivative(self, logits_RC: Tensor, reduced_R: Tensor) -> Tensor:
        """d reduced / d logit for every column, written into `logits_RC`; wrong where a column was left out."""
        if self.kind == "softplus-sum":
            return logits_RC.sigmoid_()
        return logits_RC.sub_(reduced_R.masked_fill(reduced_R == -torch.inf, torch.inf).unsqueeze(1)).exp_()


def reduce_rows(
    scores_QC: Tensor,
    positive_rows_P: Tensor,
    positive_columns_P: Tensor,
    reduction: RowReduction,
    skipped: Skipped | None = None,
) -> tuple[Tensor, Tensor]:
    """The positives' logits (P,) and the reduction of every row (Q,), both differentiable once in the scores.

    float16 and bfloat16 scores are computed in float32 and answered in float32; their gradient has the scores' dtype.
    It is 0 at skipped pairs.

    >>> scores_QC = torch.tensor([[2.0, 0.0, 0.0]])
    >>> row, column = torch.tensor([0]), torch.tensor([0])
    >>> logits_P, log_sum_Q = reduce_rows(scores_QC, row, column, RowReduction("log-sum-exp", skip_positives=True))
    >>> logits_P.item(), round(log_sum_Q.item(), 4)  # log(e^0 + e^0)
    (2.0, 0.6931)
    """
    answer: tuple[Tensor, Tensor] = _ReduceRows.apply(
        scores_QC, positive_rows_P, positive_columns_P, reduction, skipped
    )
    return answer


class _ReduceRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scores_QC: Tensor,
        rows_P: Tensor,
        columns_P: Tensor,
        reduction: RowReduction,
        skipped: Skipped | None,
    ) -> tuple[Tensor, Tensor]:
        positive_logits_P = reduction.logits(scores_QC[rows_P, columns_P], rows_P)
        reduced_Q = positive_logits_P.new_empty(scores_QC.shape[0])
        for rows, pairs in row_blocks(scores_QC, rows_P):
            logits_RC = reduction.logits(scores_QC[rows], rows)
            if reduction.skip_positives:
                logits_RC[rows_P[pairs] - rows.start, columns_P[pairs]] = -torch.inf
            if skipped:
                skipped.put(-torch.inf, logits_RC, rows)
            reduced_Q[rows] = reduction.reduce(logits_RC)
        ctx.save_for_backward(scores_QC, rows_P, columns_P, reduced_Q)
        ctx.reduction, ctx.skipped = reduction, skipped
        return positive_logits_P, reduced_Q

    @staticmethod
    def backward(ctx: Any, gradient_P: Tensor, gradient_Q: Tensor) -> tuple[Tensor, None, None, None, None]:
        if torch.is_grad_enabled():  # create_graph=True: better an error than a second derivative without these terms
            raise NotImplementedError("the row reductions of xmc can be differentiated once, not twice")
        scores_QC, rows_P, columns_P, reduced_Q = ctx.saved_tensors
        reduction = ctx.reduction
        gradient_QC = torch.empty_like(scores_QC)
        in_place = scores_QC.dtype == working_dtype(scores_QC)
        for rows, pairs in row_blocks(scores_QC, rows_P):
            logits_RC = reduction.logits(scores_QC[rows], rows, out=gradient_QC[rows] if in_place else None)
            block_RC = reduction.derivative(logits_RC, reduced_Q[rows])
            block_RC.mul_((gradient_Q[rows] * reduction.slope(rows)).unsqueeze(1))
            block_RC.index_put_(
                (rows_P[pairs] - rows.start, columns_P[pairs]),
                gradient_P[pairs] * reduction.slope(rows_P[pairs]),
                accumulate=not reduction.skip_positives,  # a skipped column takes only its own pair's gradient
            )
            if ctx.skipped:
                ctx.skipped.put(0.0, block_RC, rows)
            if not in_place:
                gradient_QC[rows] = block_RC
        return gradient_QC, None, None, None, None


def largest_logits(logits_RC: Tensor) -> Tensor:
    """The largest of each row, (R, 1), to be subtracted before exp; 0 where every column is left out (-inf)."""
    largest_R1 = logits_RC.amax(dim=1, keepdim=True)
    return largest_R1.masked_fill_(largest_R1 == -torch.inf, 0.0)  # exp(-inf - 0) = 0, not NaN


def working_dtype(scores: Tensor) -> torch.dtype:
    """In what precision scores are worked on: their own, but at least single."""
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def row_blocks(scores_QC: Tensor, rows_P: Tensor) -> Iterator[tuple[slice, slice]]:
    """Slices of query rows, small enough for the cache, each with the slice of its (sorted) pairs."""
    queries, columns = scores_QC.shape
    elements = BLOCK_ELEMENTS_CPU if scores_QC.device.type == "cpu" else BLOCK_ELEMENTS_GPU
    size = max(1, elements // max(1, columns))
    if queries <= size:
        yield slice(0, queries), slice(0, len(rows_P))
        return
    starts = torch.arange(0, queries + size, size, device=rows_P.device)
    bounds = torch.searchsorted(rows_P, starts).tolist()  # the last start is past every row
    for i, first in enumerate(range(0, queries, size)):
        yield slice(first, min(first + size, queries)), slice(bounds[i], bounds[i + 1])
