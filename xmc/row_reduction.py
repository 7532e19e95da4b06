"""Reduce each query's row of scores to one number, with a closed-form gradient and no second (Q, C) buffer.

Every loss of the softmax family and one-vs-all losses need two things of a row: the logits of its positives, and one
number over its other labels (or all). Both come from one autograd function here. It walks the rows in blocks that fit
the processor's cache, keeps nothing of size (Q, C) for the way back but the scores themselves, and recomputes there.

Shapes: Q queries, C scored labels, P (query, positive) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

BLOCK_ELEMENTS_CPU = 2**18
BLOCK_ELEMENTS_GPU = 2**26


@dataclass(frozen=True)
class RowReduction:
    """What to compute: logit = score / temperature + bias; `skip_positives` leaves the positives' columns out."""

    kind: Literal["log-sum-exp", "softplus-sum"]
    skip_positives: bool
    temperature: float = 1.0
    bias: float = 0.0

    def logits(self, scores: Tensor) -> Tensor:
        """The logits of some scores, a new tensor of at least single precision."""
        logits = scores.to(working_dtype(scores)) * (1.0 / self.temperature)
        return logits.add_(self.bias) if self.bias else logits

    def reduce(self, logits_RC: Tensor) -> Tensor:
        """The number of each row, (R,); writes into `logits_RC`, where -inf marks a column to leave out."""
        if self.kind == "softplus-sum":
            return torch.nn.functional.softplus(logits_RC, threshold=40.0).sum(dim=1)  # at 20 float64 would notice
        largest_R1 = logits_RC.amax(dim=1, keepdim=True)
        largest_R1.masked_fill_(largest_R1 == -torch.inf, 0.0)  # every column left out: exp(-inf - 0) = 0, not NaN
        return logits_RC.sub_(largest_R1).exp_().sum(dim=1).log_().add_(largest_R1.squeeze(1))

    def derivative(self, logits_RC: Tensor, reduced_R: Tensor) -> Tensor:
        """d reduced / d logit for every column, written into `logits_RC`; wrong where a column was left out."""
        if self.kind == "softplus-sum":
            return logits_RC.sigmoid_()
        return logits_RC.sub_(reduced_R.masked_fill(reduced_R == -torch.inf, torch.inf).unsqueeze(1)).exp_()


def reduce_rows(
    scores_QC: Tensor, positive_rows_P: Tensor, positive_columns_P: Tensor, reduction: RowReduction
) -> tuple[Tensor, Tensor]:
    """The positives' logits (P,) and the reduction of every row (Q,), both differentiable once in the scores.

    float16 and bfloat16 scores are computed in float32 and answered in float32; their gradient has the scores' dtype.

    >>> scores_QC = torch.tensor([[2.0, 0.0, 0.0]])
    >>> row, column = torch.tensor([0]), torch.tensor([0])
    >>> logits_P, log_sum_Q = reduce_rows(scores_QC, row, column, RowReduction("log-sum-exp", skip_positives=True))
    >>> logits_P.item(), round(log_sum_Q.item(), 4)  # log(e^0 + e^0)
    (2.0, 0.6931)
    """
    answer: tuple[Tensor, Tensor] = _ReduceRows.apply(scores_QC, positive_rows_P, positive_columns_P, reduction)
    return answer


class _ReduceRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, scores_QC: Tensor, rows_P: Tensor, columns_P: Tensor, reduction: RowReduction
    ) -> tuple[Tensor, Tensor]:
        positive_logits_P = reduction.logits(scores_QC[rows_P, columns_P])
        reduced_Q = positive_logits_P.new_empty(scores_QC.shape[0])
        for rows, pairs in row_blocks(scores_QC, rows_P):
            logits_RC = reduction.logits(scores_QC[rows])
            if reduction.skip_positives:
                logits_RC[rows_P[pairs] - rows.start, columns_P[pairs]] = -torch.inf
            reduced_Q[rows] = reduction.reduce(logits_RC)
        ctx.save_for_backward(scores_QC, rows_P, columns_P, reduced_Q)
        ctx.reduction = reduction
        return positive_logits_P, reduced_Q

    @staticmethod
    def backward(ctx: Any, gradient_P: Tensor, gradient_Q: Tensor) -> tuple[Tensor, None, None, None]:
        if torch.is_grad_enabled():  # create_graph=True: better an error than a second derivative without these terms
            raise NotImplementedError("the row reductions of xmc can be differentiated once, not twice")
        scores_QC, rows_P, columns_P, reduced_Q = ctx.saved_tensors
        reduction = ctx.reduction
        slope = 1.0 / reduction.temperature
        gradient_QC = torch.empty_like(scores_QC)
        for rows, pairs in row_blocks(scores_QC, rows_P):
            block_RC = reduction.derivative(reduction.logits(scores_QC[rows]), reduced_Q[rows])
            block_RC.mul_((gradient_Q[rows] * slope).unsqueeze(1))
            block_RC.index_put_(
                (rows_P[pairs] - rows.start, columns_P[pairs]),
                gradient_P[pairs] * slope,
                accumulate=not reduction.skip_positives,  # a skipped column takes only its own pair's gradient
            )
            gradient_QC[rows] = block_RC
        return gradient_QC, None, None, None


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
