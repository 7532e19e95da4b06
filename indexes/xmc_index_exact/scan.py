"""The fast pass: float32 matrix products over all labels, keeping every label that may belong to the top k.

Its scores are approximate (rounding differs by batch size), so it promises a superset: with `error` a bound on
|approximate - true|, k labels are known to reach `kth approximate - error`, and no label below
`kth approximate - 2 error` can. The superset is scored again in `fixed_order`.

Letters: Q queries, L labels, S labels of one span, N blocks of B labels, K wanted, D dimension, P candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

MAX_BLOCK = 128
_BYTES_PER_SCORE = 4


class Candidates(NamedTuple):
    """P (query, label) pairs with their approximate scores."""

    query_rows_P: Tensor
    label_rows_P: Tensor
    scores_P: Tensor


def find_candidates(
    queries_QD: Tensor, labels_LD: Tensor, k: int, *, margins_Q: Tensor, memory_bytes: int
) -> Candidates:
    """Every label whose approximate score is within `margins_Q` (2 error) of the query's kth best, at least k each.

    Labels are walked in spans whose scores fit `memory_bytes`. In a span only the maximum of each block is looked at:
    the kth best maximum so far is reached by k labels, so whole blocks below it (less the margin) are out.
    """
    queries, labels = len(queries_QD), len(labels_LD)
    block = block_size(labels, k)
    span = max(block, memory_bytes // (_BYTES_PER_SCORE * queries) // block * block)
    span = min(span, -(-labels // block) * block)
    scores_QS = queries_QD.new_empty((queries, span))
    kth_maxima_QK = queries_QD.new_full((queries, k), -torch.inf)
    found = []
    for start in range(0, labels, span):
        count = min(span, labels - start)
        torch.mm(queries_QD, labels_LD[start : start + count].T, out=scores_QS[:, :count])
        padded = -(-count // block) * block
        scores_QS[:, count:padded] = -torch.inf
        scores_QNB = scores_QS[:, :padded].unflatten(1, (-1, block))
        maxima_QN = scores_QNB.amax(2)
        kth_maxima_QK = _best(torch.cat([kth_maxima_QK, _best(maxima_QN, k)], dim=1), k)
        thresholds_Q = kth_maxima_QK[:, -1] - margins_Q
        found.append(_above(scores_QNB, maxima_QN, thresholds_Q, start))
    joined = Candidates(*(torch.cat(parts) for parts in zip(*found, strict=True)))
    return _tightened(joined, queries, k, margins_Q)


def block_size(labels: int, k: int) -> int:
    """Labels per block: a power of two, small enough for at least k blocks (then the kth best maximum exists)."""
    block = 1
    while block < MAX_BLOCK and 16 * k * block <= labels:
        block *= 2
    return block


def _best(values_QN: Tensor, k: int) -> Tensor:
    return values_QN.topk(min(k, values_QN.shape[1]), dim=1).values


def _above(scores_QNB: Tensor, maxima_QN: Tensor, thresholds_Q: Tensor, start: int) -> Candidates:
    """The scores at or above their query's threshold, looked for only in blocks whose maximum is."""
    query_rows, blocks = (maxima_QN >= thresholds_Q[:, None]).nonzero(as_tuple=True)
    scores_PB = scores_QNB[query_rows, blocks]
    kept = (scores_PB >= thresholds_Q[query_rows, None]) & (scores_PB > -torch.inf)
    pairs, columns = kept.nonzero(as_tuple=True)
    label_rows = start + blocks[pairs] * scores_QNB.shape[2] + columns
    return Candidates(query_rows[pairs], label_rows, scores_PB[pairs, columns])


def _tightened(found: Candidates, queries: int, k: int, margins_Q: Tensor) -> Candidates:
    """Only what is within the margin of the true kth approximate score; the maxima gave a lower one."""
    order = found.scores_P.argsort(descending=True)
    order = order[found.query_rows_P[order].argsort(stable=True)]
    found = Candidates(*(part[order] for part in found))
    counts_Q = found.query_rows_P.bincount(minlength=queries)
    kth_Q = counts_Q.cumsum(0) - counts_Q + k - 1
    kept = found.scores_P >= (found.scores_P[kth_Q] - margins_Q)[found.query_rows_P]
    return Candidates(*(part[kept] for part in found))
