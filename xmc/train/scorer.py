"""Loss and exact gradient of a batch against many labels, without ever holding a Q x C matrix.

For a `row` loss the batch is walked in chunks of query rows: score a chunk, ask the loss for its value and its gradient
with respect to the scores, multiply that back into the embeddings, forget it. Memory is rows x C, not Q x C.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from xmc.api import ConfigError, Loss, LossInputs, NonFiniteError, RowStateLoss, TeacherScores
from xmc.counted import counted
from xmc.loss_values import next_row_states, query_losses, require_gradient
from xmc.sent import sent
from xmc.train.products import add_product, product_into

# scores, their gradient and a loss's own work space
SCORE_COPIES = 4
PREFERRED_SCORE_BYTES = 25_000_000
EFFICIENT_ROWS = 32
LABEL_BLOCK = 1024


@dataclass(frozen=True)
class Pairs:
    """The P positive pairs of a batch in column space: row of the batch, column among the scored labels, weight.

    `skipped` are the rows and columns, (S,) each, of pairs that are neither positives nor negatives, if there are any;
    `teacher` what a teacher says of the batch, if there is one. `host_rows_P` are `rows_P` in the memory of the host
    for pairs on a GPU, which can then be cut without waiting for what it is doing.
    """

    rows_P: Tensor
    columns_P: Tensor
    weights_P: Tensor
    skipped: tuple[Tensor, Tensor] | None = None
    teacher: TeacherScores | None = None
    host_rows_P: Tensor | None = None

    def to(self, device: torch.device) -> Pairs:
        """The same pairs on another device."""
        skipped = None if self.skipped is None else (sent(self.skipped[0], device), sent(self.skipped[1], device))
        teacher = self.teacher and self.teacher.to(device)
        rows_P, columns_P, weights_P = (
            sent(part_P, device) for part_P in (self.rows_P, self.columns_P, self.weights_P)
        )
        return Pairs(rows_P, columns_P, weights_P, skipped, teacher, self._on_the_host)

    def between(self, start: int, stop: int) -> Pairs:
        """The pairs of batch rows start..stop-1, rows counted from `start` (pairs are sorted by row)."""
        own, skipped = _between(self._on_the_host, start, stop), self.skipped
        if skipped is not None:
            rows_S = _between(skipped[0], start, stop)
            skipped = skipped[0][rows_S] - start, skipped[1][rows_S]
        teacher = self.teacher and self.teacher.at(_between(self.teacher.rows_T, start, stop), first_row=start)
        rows_P = self.rows_P[own] - start
        host_rows_P = self._on_the_host[own] - start
        return Pairs(rows_P, self.columns_P[own], self.weights_P[own], skipped, teacher, host_rows_P)

    @property
    def _on_the_host(self) -> Tensor:
        return self.rows_P if self.host_rows_P is None else self.host_rows_P


@dataclass(frozen=True)
class ScoredBatch:
    """Loss of each query, (Q,), and gradients of the batch's mean loss: (Q, D) and (C, D).

    `row_state_Q` is what a loss that keeps a state wants to know at the next visit of each query.
    """

    losses_Q: Tensor
    queries_gradient_QD: Tensor
    labels_gradient_CD: Tensor
    row_state_Q: Tensor | None = None

    def rows(self, rows: slice) -> ScoredBatch:
        """The same with these queries alone; the labels' gradient stays whole."""
        state_Q = None if self.row_state_Q is None else self.row_state_Q[rows]
        return ScoredBatch(self.losses_Q[rows], self.queries_gradient_QD[rows], self.labels_gradient_CD, state_Q)


def rows_in_memory(
    labels: int, score_memory_mb: int, *, pool: Literal["row", "batch"] = "row", device: str = "cpu"
) -> int:
    """How many query rows to score at once: as many as the limit holds, but no more than make the products efficient.

    On a CPU blocks of scores that stay below `PREFERRED_SCORE_BYTES` are handed out again by the allocator without
    asking the system for fresh pages, which costs more than the scores themselves. On a GPU each block costs the start
    of its steps, and a `batch` loss has no choice of block: there the limit alone counts.

    >>> rows_in_memory(1_000_000, 512)
    32
    >>> rows_in_memory(50_000, 512), rows_in_memory(50_000, 512, pool="batch")
    (125, 671)
    >>> rows_in_memory(50_000, 512, device="cuda")
    671
    """
    allowed = score_memory_mb * 2**20 // (labels * 4 * SCORE_COPIES)
    if pool == "batch" or device != "cpu":
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
    row_state_Q: Tensor | None = None,
    bags_Q: Tensor | None = None,
    first_row: int = 0,
    mean_over: int = 0,
    products: torch.dtype | None = None,
    norms: bool = False,
) -> ScoredBatch:
    """Loss and gradients; equals autograd through `loss(queries_QD @ labels_CD.T).mean()`.

    Embeddings come detached; the caller sends the gradients on through the encoder. `log_inclusion_C` goes to the loss;
    so do `bags_Q`, and the next row state, which a loss that keeps one makes of `row_state_Q`. Where these queries are
    part of a larger batch, `first_row` is the place of the first in it and `mean_over` its size. `products` is what
    embeddings and score gradients are rounded to when they are multiplied (None: left as they are); losses and sums
    over the batch are not. With `norms` the loss also reads the embeddings' lengths, and its gradient in those of the
    queries counts.
    Raises: NonFiniteError naming the batch rows with a non-finite loss; PluginError when the loss does not answer one
    value per query; ConfigError when a `batch` loss needs more memory than allowed.
    """
    queries, labels = queries_QD.shape[0], labels_CD.shape[0]
    if pool == "batch":
        _require_room(queries, labels, rows_at_once)
        rows_at_once = queries
    losses_Q = queries_QD.new_empty(queries)
    queries_gradient_QD = torch.empty_like(queries_QD)
    labels_gradient_CD = torch.empty_like(labels_CD) if queries else torch.zeros_like(labels_CD)
    scores_RC = queries_QD.new_empty(min(rows_at_once, queries), labels)
    next_state_Q = None if row_state_Q is None else torch.empty_like(row_state_Q)
    factors_CD = labels_CD.to(products or labels_CD.dtype)
    label_norms_C = labels_CD.norm(dim=1) if norms else None
    share = 1.0 / (mean_over or queries or 1)
    for start in range(0, queries, rows_at_once):
        rows = slice(start, min(start + rows_at_once, queries))
        chunk_RD = queries_QD[rows].to(factors_CD.dtype)
        chunk_scores_RC = score_rows(chunk_RD, factors_CD, out=scores_RC[: len(chunk_RD)])
        norms_R = queries_QD[rows].norm(dim=1) if norms else None
        inputs = replace(
            _inputs(chunk_scores_RC, pairs.between(rows.start, rows.stop), log_inclusion_C),
            bags_Q=None if bags_Q is None else bags_Q[rows],
            row_state_Q=None if row_state_Q is None else row_state_Q[rows],
            query_norms_Q=norms_R,
            label_norms_C=label_norms_C,
        )
        if next_state_Q is not None and isinstance(loss, RowStateLoss):
            next_state_Q[rows] = next_row_states(loss, inputs, queries=len(chunk_RD))
            inputs = replace(inputs, row_state_Q=next_state_Q[rows])
        losses_Q[rows], gradient_RC, norms_gradient_R = _loss_and_gradient(inputs, loss)
        gradient_RC = gradient_RC.to(factors_CD.dtype)
        product_into(queries_gradient_QD[rows], gradient_RC, factors_CD)
        if norms_R is not None and norms_gradient_R is not None:
            queries_gradient_QD[rows] += _through_norms(norms_gradient_R, norms_R, queries_QD[rows])
        add_product(labels_gradient_CD, gradient_RC.T, chunk_RD, share=share, first=start == 0)
    _require_finite(losses_Q, first_row)  # once, for to ask a GPU is to wait until it has nothing left to do
    return ScoredBatch(losses_Q, queries_gradient_QD.mul_(share), labels_gradient_CD, next_state_Q)


def score_rows(queries_RD: Tensor, labels_CD: Tensor, *, out: Tensor) -> Tensor:
    """`queries_RD @ labels_CD.T`, written into `out`, on a CPU in blocks of labels.

    A product of few rows with very many columns runs at little more than half of a CPU's speed when it is made in one
    piece; blocks of 1,024 columns keep the panel in the cache.
    """
    if labels_CD.device.type != "cpu":
        product_into(out, queries_RD, labels_CD.T)
        return out
    for start in range(0, labels_CD.shape[0], LABEL_BLOCK):
        block = slice(start, start + LABEL_BLOCK)
        product_into(out[:, block], queries_RD, labels_CD[block].T)
    return out


def _between(sorted_rows: Tensor, start: int, stop: int) -> slice:
    first, last = torch.searchsorted(sorted_rows, torch.tensor([start, stop], device=sorted_rows.device)).tolist()
    return slice(first, last)


def _require_room(queries: int, labels: int, rows_at_once: int) -> None:
    if queries > rows_at_once:
        raise ConfigError(
            f"this loss pools the whole batch, so {queries:,} x {labels:,} scores are needed at once, and "
            f"[train] score_memory_mb allows {counted(rows_at_once, 'row')}.",
            hint="Use a smaller batch_size, label_scope = 'sampled', or a larger score_memory_mb.",
        )


def _inputs(scores_RC: Tensor, pairs: Pairs, log_inclusion_C: Tensor | None) -> LossInputs:
    skipped = pairs.skipped or (None, None)
    inputs = LossInputs(scores_RC, pairs.rows_P, pairs.columns_P, pairs.weights_P, log_inclusion_C, *skipped)
    return replace(inputs, teacher=pairs.teacher)


def _through_norms(gradient_R: Tensor, norms_R: Tensor, vectors_RD: Tensor) -> Tensor:
    """The gradient in vectors of that in their norms, (R, D); 0 for a vector of zeros."""
    shares_R = gradient_R / norms_R.clamp(min=torch.finfo(norms_R.dtype).tiny)
    return shares_R.unsqueeze(1) * vectors_RD


def _loss_and_gradient(inputs: LossInputs, loss: Loss) -> tuple[Tensor, Tensor, Tensor | None]:
    """The loss of each query, and the gradients of their sum in the scores and, if there, in the queries' lengths."""
    with torch.enable_grad():
        leaves = [inputs.scores_QC.detach().requires_grad_()]
        inputs = replace(inputs, scores_QC=leaves[0])
        if inputs.query_norms_Q is not None:
            leaves.append(inputs.query_norms_Q.detach().requires_grad_())
            inputs = replace(inputs, query_norms_Q=leaves[1])
        losses_R = query_losses(loss, inputs, queries=leaves[0].shape[0])
        gradient_RC, *others = torch.autograd.grad(losses_R.sum(), leaves, allow_unused=True)
    return losses_R.detach(), require_gradient(loss, gradient_RC), others[0] if others else None


def _require_finite(losses_R: Tensor, start: int) -> None:
    if not bool(torch.isfinite(losses_R).all()):
        rows = (torch.nonzero(~torch.isfinite(losses_R)).flatten() + start).tolist()
        raise NonFiniteError(f"the loss is not finite for batch rows {rows[:5]} ({len(rows):,} in all).")
