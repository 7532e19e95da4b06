"""The entropy of the softmax over each query's negatives, in the same pass as its log-sum-exp.

Shapes: Q queries, C scored labels, P (query, positive) pairs, S skipped (query, label) pairs, R rows of a block.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xmc.row_reduction import RowReduction, Skipped, largest_logits, row_blocks


@torch.no_grad()
def softmax_entropy(
    scores_QC: Tensor,
    positive_rows_P: Tensor,
    positive_columns_P: Tensor,
    reduction: RowReduction,
    skipped: Skipped | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """What `reduce_rows` answers for a log-sum-exp, and the entropy of that softmax (Q,); without gradient.

    Entropy is log-sum-exp less the softmax's mean of the logits; here the largest logit is subtracted from both, so
    that large ones cost no digits. 0 for a row without columns.

    >>> scores_QC, none = torch.zeros(1, 4), torch.zeros(0, dtype=torch.long)
    >>> softmax_entropy(scores_QC, none, none, RowReduction("log-sum-exp", skip_positives=True))[2].exp().item()
    4.0
    """
    positive_logits_P = reduction.logits(scores_QC[positive_rows_P, positive_columns_P], positive_rows_P)
    log_sum_Q = positive_logits_P.new_empty(scores_QC.shape[0])
    entropy_Q = torch.empty_like(log_sum_Q)
    for rows, pairs in row_blocks(scores_QC, positive_rows_P):
        logits_RC = reduction.logits(scores_QC[rows], rows)
        own = (positive_rows_P[pairs] - rows.start, positive_columns_P[pairs])
        if reduction.skip_positives:
            logits_RC[own] = -torch.inf
        if skipped:
            skipped.put(-torch.inf, logits_RC, rows)
        largest_R1 = largest_logits(logits_RC)
        weights_RC = logits_RC.sub_(largest_R1).exp()
        sum_R = weights_RC.sum(dim=1)
        if reduction.skip_positives:
            logits_RC[own] = 0.0  # 0 · -inf would be NaN
        if skipped:
            skipped.put(0.0, logits_RC, rows)
        log_R = sum_R.log()
        mean_R = torch.linalg.vecdot(weights_RC, logits_RC) / sum_R
        entropy_Q[rows] = torch.where(sum_R > 0, log_R - mean_R, 0.0)
        log_sum_Q[rows] = log_R.add_(largest_R1.squeeze(1))
    return positive_logits_P, log_sum_Q, entropy_Q
