"""Loss and exact gradient of a batch against many labels, without ever holding a Q x C matrix.

For a `row` loss the batch is walked in chunks of query rows: score a chunk, ask the loss for its value and its gradient
with respect to the scores, multiply that back into the embeddings, forget it. Memory is rows x C, not Q x C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xmc.api import ConfigError, Loss, LossInputs, NonFiniteError

# scores, their gradient and a loss's own work space
SCORE_COPIES = 4
PREFERRED_SCORE_BYTES = 25_000_000
EFFICIENT_ROWS = 32
LABEL_BLOCK = 1024


@dataclass(frozen=True)
class Pairs:
    """The P positive pairs of a batch in column space: row of the batch, column among the scored labels, weight."""

    rows_P: Tensor
    columns_P: Tensor
    weights_P: Tensor

    def to(self, device: torch.device) -> Pairs:
        """The same pairs on another device."""
        return Pairs(self.rows_P.to(device), self.columns_P.to(device), self.weights_P.to(device))

    def between(self, start: int, stop: int) -> Pairs:
        """The pairs of batch rows start..stop-1, rows counted from `start` (pairs are sorted by row)."""
        bounds = torch.tensor([start, stop], device=self.rows_P.device)
        first, last = torch.searchsorted(self.rows_P, bounds).tolist()
        return Pairs(self.rows_P[first:last] - start, self.columns_P[first:last], self.weights_P[first:last])


@dataclass(frozen=True)
class ScoredBatch:
    """Loss of each query, (Q,), and gradients of the batch's mean loss: (Q, D) and (C, D)."""

    losses_Q: Tensor
    queries_gradient_QD: Tensor
    labels_gradient_CD: Tensor


def rows_in_memory(labels: int, score_memory_mb: int, *, pool: Literal["row", "batch"] = "row") -> int:
    """How many query rows to score at once: as many as the limit holds, but no more than make the products efficient.

    Blocks of scores that stay below `PREFERRED_SCORE_BYTES` are handed out again by the allocator without asking the
    system for fresh pages, which costs more than the scores themselves. A `batch` loss has no choice of block, so for
    it the limit alone counts.

    >>> rows_in_memory(1_000_000, 512)
    32
    >>> rows_in_memory(50_000, 512), rows_in_memory(50_000, 512, pool="batch")
    (125, 671)
    """
    allowed = score_memory_mb * 2**20 // (labels * 4 * SCORE_COPIES)
    if pool == "batch":
        return max(1, allowed)
    preferred = max(EFFICIENT_ROWS, PREFERRED_SCORE_BYTES // (labels * 4))
    return max(1, min(allowed, preferred))


def score_batch(
    queries_QD: Tensor,
    labels_CD: Tensor,
    pairs: Pairs,
    loss: Loss,
    *,
    pool: Literal["row", "batch"],
    rows_at_once: int,
    log_inclusion_C: Tensor | None = None,
) -> ScoredBatch:
    """Loss and gradients; equals autograd through `loss(queries_QD @ labels_CD.T).mean()`.

    Embeddings come detached; the caller sends the gradients on through the encoder. `log_inclusion_C` goes to the loss.
    Raises: NonFiniteError naming the batch rows with a non-finite loss; ConfigError when a `batch` loss needs more
    memory than allowed.
    """
    queries = queries_QD.shape[0]
    if pool == "batch":
        if queries > rows_at_once:
            raise ConfigError(
                f"this loss pools the whole batch, so {queries} x {labels_CD.shape[0]} scores are needed at once, and "
                f"[train] score_memory_mb allows {rows_at_once} rows.",
                hint="Use a smaller batch_size, label_scope = 'sampled', or a larger score_memory_mb.",
            )
        rows_at_once = queries
    losses_Q = queries_QD.new_empty(queries)
    queries_gradient_QD = torch.empty_like(queries_QD)
    labels_gradient_CD = torch.zeros_like(labels_CD)
    scores_RC = queries_QD.new_empty(min(rows_at_once, queries), labels_CD.shape[0])
    for start in range(0, queries, rows_at_once):
        stop = min(start + rows_at_once, queries)
        chunk_RD = queries_QD[start:stop]
        chunk_scores_RC = score_rows(chunk_RD, labels_CD, out=scores_RC[: stop - start])
        chunk_losses_R, gradient_RC = _loss_and_gradient(
            chunk_scores_RC, pairs.between(start, stop), loss, log_inclusion_C
        )
        _require_finite(chunk_losses_R, start)
        losses_Q[start:stop] = chunk_losses_R
        torch.mm(gradient_RC, labels_CD, out=queries_gradient_QD[start:stop])
        labels_gradient_CD.addmm_(gradient_RC.T, chunk_RD)
    return ScoredBatch(losses_Q, queries_gradient_QD.div_(queries), labels_gradient_CD.div_(queries))


def score_rows(queries_RD: Tensor, labels_CD: Tensor, *, out: Tensor) -> Tensor:
    """`queries_RD @ labels_CD.T`, written into `out` in blocks of labels.

    A product of few rows with very many columns runs at little more than half of a CPU's speed when it is made in one
    piece; blocks of 1,024 columns keep the panel in the cache.
    """
    for start in range(0, labels_CD.shape[0], LABEL_BLOCK):
        block = slice(start, start + LABEL_BLOCK)
        torch.mm(queries_RD, labels_CD[block].T, out=out[:, block])
    return out


def _loss_and_gradient(
    scores_RC: Tensor, pairs: Pairs, loss: Loss, log_inclusion_C: Tensor | None
) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        scores_RC = scores_RC.detach().requires_grad_()
        losses_R = loss(LossInputs(scores_RC, pairs.rows_P, pairs.columns_P, pairs.weights_P, log_inclusion_C))
        (gradient_RC,) = torch.autograd.grad(losses_R.sum(), scores_RC)
    return losses_R.detach(), gradient_RC


def _require_finite(losses_R: Tensor, start: int) -> None:
    if not bool(torch.isfinite(losses_R).all()):
        rows = (torch.nonzero(~torch.isfinite(losses_R)).flatten() + start).tolist()
        raise NonFiniteError(f"the loss is not finite for batch rows {rows[:5]} ({len(rows)} in all).")
