"""The fast pass: matrix products over all labels, keeping every label that may belong to the top k.

Its scores are approximate (rounding differs by batch size), so it promises a superset: with `error` a bound on
|approximate - true|, k labels are known to reach `kth approximate - error`, and no label below
`kth approximate - 2 error` can. The superset is scored again in `xmc.fixed_order`.

Letters: Q queries, L labels, S labels of one span, N blocks of B labels, K wanted, D dimension, P candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from xmc.api import most_candidates
from xmc_index_exact.one_query import candidates_of_one, is_one_query

MAX_BLOCK = 128
GATHER_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}  # vectors of allowed labels come together in slices of this size
# Walked together: more share the labels' memory traffic, but on a CPU their scores leave the cache.
MAX_QUERIES = {"cpu": 256, "cuda": 1024}


class TooManyCandidates(Exception):  # noqa: N818 - no error: there is another way
    """Several queries have so many that all labels had better be scored (`best_of_all`)."""


class Candidates(NamedTuple):
    """P (query, label) pairs with their approximate scores."""

    query_rows_P: Tensor
    label_rows_P: Tensor
    scores_P: Tensor


def joined(parts: list[Candidates]) -> Candidates:
    """Several sets of candidates as one."""
    if len(parts) == 1:
        return parts[0]
    return Candidates(*(torch.cat(column) for column in zip(*parts, strict=True)))


def find_candidates(
    queries_QD: Tensor,
    labels_LD: Tensor,
    k: int,
    *,
    margins_Q: Tensor,
    score_bytes: int,
    scores: torch.dtype | None = None,
    allowed: Tensor | None = None,
) -> Candidates:
    """Every label whose approximate score is within `margins_Q` (2 error) of the query's kth best, at least k each.

    Naive: `scores = queries @ labels.T`, then all that are `>= kth_largest(scores) - margins`. Needs k <= L.
    Queries are taken in groups and labels in spans, so that the scores held at a time fit `score_bytes`.
    `scores` is the format of the scores, None for that of the vectors.
    With `allowed`, ascending label rows, there are no other labels; needs k <= their number.
    Raises: TooManyCandidates, never for a single query.
    """
    parts = []
    queries, labels, device = len(queries_QD), len(labels_LD if allowed is None else allowed), queries_QD.device.type
    room = most_candidates(queries=queries, labels=labels, device=device) + 4 * k * queries
    together = MAX_QUERIES[device]
    for start in range(0, len(queries_QD), together):
        group = slice(start, start + together)
        if is_one_query(queries_QD[group]):
            found = _scan_one(queries_QD[group], labels_LD, k, margins_Q[group], score_bytes, allowed)
        else:
            dtype = scores or queries_QD.dtype
            found = _scan(queries_QD[group], labels_LD, k, margins_Q[group], dtype, score_bytes, allowed, room)
        parts.append(found._replace(query_rows_P=found.query_rows_P + start))
        room -= len(found.scores_P)
    found = joined(parts)
    return found if allowed is None else found._replace(label_rows_P=allowed[found.label_rows_P])


def _scan_one(
    query_1D: Tensor, labels_LD: Tensor, k: int, margins_Q: Tensor, score_bytes: int, allowed: Tensor | None
) -> Candidates:
    """The same as `_scan` for a single query."""
    labels = len(labels_LD if allowed is None else allowed)
    block = block_size(labels, k)
    span = _span(labels_LD, block, score_bytes // query_1D.element_size(), allowed)
    positions_P, scores_P = candidates_of_one(
        query_1D, labels_LD, k, margin=float(margins_Q), span=span, block=block, allowed=allowed
    )
    columns = (torch.from_numpy(column) for column in (np.zeros_like(positions_P), positions_P, scores_P))
    return Candidates(*columns)


def _scan(
    queries_QD: Tensor,
    labels_LD: Tensor,
    k: int,
    margins_Q: Tensor,
    dtype: torch.dtype,
    score_bytes: int,
    allowed: Tensor | None,
    room: int,
) -> Candidates:
    """One group of queries over all spans of labels.

    Raises: TooManyCandidates where several queries have more than there is `room` for.
    """
    queries, labels = len(queries_QD), len(labels_LD if allowed is None else allowed)
    # One column would go to a matrix-vector kernel, which reads memory at half the speed of a two-column product.
    columns_DQ = (queries_QD if queries > 1 else queries_QD.repeat(2, 1)).T
    span = _span(labels_LD, MAX_BLOCK, score_bytes // (columns_DQ.shape[1] * dtype.itemsize), allowed)
    scores_SQ = queries_QD.new_empty((span, columns_DQ.shape[1]), dtype=dtype)
    best_QK = margins_Q.new_full((queries, k), -torch.inf)
    parts, counted = [], 0
    for start in range(0, labels, span):
        count = min(span, labels - start)
        rows = slice(start, start + count)
        multiply(labels_LD[rows if allowed is None else allowed[rows]], columns_DQ, scores_SQ[:count])
        parts.append(_of_span(scores_SQ, count, best_QK, margins_Q, start))
        room -= len(parts[-1].scores_P)
        if room < 0 and queries > 1:
            raise TooManyCandidates
        is_last, new = start + span >= labels, sum(len(part.scores_P) for part in parts[counted:])
        if is_last and labels_LD.is_cuda and len(parts) == 1:
            return parts[0]  # hardly any would be dropped: to score the few again is quicker
        if is_last or start < k or 2 * new >= queries * k:  # with fewer, the kth best is much the same
            best_QK = _best_of(best_QK, _side_by_side(joined(parts[counted:]), queries))
            counted = len(parts)
    found = joined(parts)
    kept = found.scores_P >= (best_QK.amin(1) - margins_Q)[found.query_rows_P]
    return Candidates(*(column[kept] for column in found))


def _of_span(scores_SQ: Tensor, count: int, best_QK: Tensor, margins_Q: Tensor, start: int) -> Candidates:
    """What may be among the best of a span of `count` labels from `start` on.

    Only the maximum of each block is looked at: whole blocks below the kth best score so far (less the margin) are out.
    Few blocks remain, and only those are read again. At first, and where labels are better than those before them,
    that would be most blocks: then the maxima, which are scores of as many labels, count among the scores so far.
    """
    queries, k = best_QK.shape
    for seen in (start, 0):
        block = _block_of_span(count, k, seen=seen)
        scores_SQ[count : _rounded_up(count, block)] = -torch.inf
        scores_NBQ = scores_SQ[: _rounded_up(count, block), :queries].contiguous().unflatten(0, (-1, block))
        maxima_NQ = scores_NBQ.amax(1).to(best_QK.dtype)
        known_QM = best_QK if seen >= k else _best_of(best_QK, maxima_NQ.T)
        thresholds_Q = known_QM.amin(1) - margins_Q
        blocks, query_rows = (maxima_NQ >= thresholds_Q).nonzero(as_tuple=True)
        if seen < k or 4 * len(blocks) <= maxima_NQ.numel():
            break
    scores_PB = scores_NBQ[blocks, :, query_rows].to(best_QK.dtype)
    kept = scores_PB >= thresholds_Q[query_rows, None]  # above the -inf of padding: k blocks are known by then
    pairs, columns = kept.nonzero(as_tuple=True)
    label_rows = start + blocks[pairs] * block + columns
    return Candidates(query_rows[pairs], label_rows, scores_PB[pairs, columns])


def _block_of_span(count: int, k: int, *, seen: int) -> int:
    """Labels per block of a span of `count`, after `seen` labels: a power of two.

    Of each query about `k * count / seen` blocks are read again: so that these and the maxima, `count / block`, are
    about equally much work. One label each until k labels are seen; there are at least k blocks until then.
    """
    block = 1
    while block < MAX_BLOCK and 4 * k * block * block <= max(seen, count):
        block *= 2
    return block


def _best_of(best_QK: Tensor, scores_QM: Tensor) -> Tensor:
    """The best K of both, in no order, (Q, K)."""
    return torch.cat([best_QK, scores_QM], dim=1).topk(best_QK.shape[1], dim=1, sorted=False).values


def _side_by_side(found: Candidates, queries: int) -> Tensor:
    """The scores of each query in a row, filled up with -inf, (Q, M)."""
    rows_P, order = found.query_rows_P.sort()
    counts_Q = rows_P.bincount(minlength=queries)
    places_P = torch.arange(len(rows_P), device=rows_P.device) - (counts_Q.cumsum(0) - counts_Q)[rows_P]
    scores_QM = found.scores_P.new_full((queries, int(counts_Q.max())), -torch.inf)
    scores_QM[rows_P, places_P] = found.scores_P[order]
    return scores_QM


def multiply(labels_SD: Tensor, columns_DQ: Tensor, out_SQ: Tensor) -> None:
    """The product, in the format of `out_SQ`; a GPU adds up products of float16 in float32, a CPU is made to."""
    if labels_SD.dtype == out_SQ.dtype:
        torch.mm(labels_SD, columns_DQ, out=out_SQ)
    elif labels_SD.is_cuda:
        torch.mm(labels_SD, columns_DQ, out_dtype=out_SQ.dtype, out=out_SQ)
    else:
        torch.mm(labels_SD.to(out_SQ.dtype), columns_DQ.to(out_SQ.dtype), out=out_SQ)


def _span(labels_LD: Tensor, block: int, wanted: int, allowed: Tensor | None) -> int:
    """Labels that are scored at a time: whole blocks, about `wanted` labels, fewer where vectors must be gathered."""
    span = max(1, wanted // block) * block
    if allowed is not None:
        span = min(span, _rounded_up(GATHER_BYTES[labels_LD.device.type] // labels_LD[:1].nbytes, block))
    return min(span, _rounded_up(len(labels_LD if allowed is None else allowed), block))


def block_size(labels: int, k: int) -> int:
    """Labels per block: a power of two, small enough for at least k blocks (then the kth best maximum exists).

    >>> block_size(200_000, 10), block_size(50, 10), block_size(5, 5)
    (128, 1, 1)
    """
    block = 1
    while block < MAX_BLOCK and 16 * k * block <= labels:
        block *= 2
    return block


def _rounded_up(count: int, block: int) -> int:
    return -(-count // block) * block


def tightened(found: Candidates, k: int, *, margins_Q: Tensor) -> Candidates:
    """Only the candidates within the margin of their query's kth best score; each query must have k of them."""
    kth_Q = _side_by_side(found, len(margins_Q)).topk(k, dim=1, sorted=False).values.amin(1)
    kept = found.scores_P >= (kth_Q - margins_Q)[found.query_rows_P]
    return Candidates(*(column[kept] for column in found))


def parted(found: Candidates, k: int, *, queries: int) -> tuple[Candidates, Candidates]:
    """The k candidates of each query with the best scores, query after query, and all others; each must have k."""
    query_rows_P, _, scores_P = (column.numpy() for column in found)
    order = (-scores_P).argsort()
    order = order[
        query_rows_P[order].astype(np.min_scalar_type(queries)).argsort(kind="stable")
    ]  # quicker than lexsort
    counts_Q = np.bincount(query_rows_P, minlength=queries)
    places = np.arange(len(order)) - np.repeat(np.cumsum(counts_Q) - counts_Q, counts_Q)
    first, rest = (torch.from_numpy(order[chosen]) for chosen in (places < k, places >= k))
    return Candidates(*(column[first] for column in found)), Candidates(*(column[rest] for column in found))


def best_first(found: Candidates, k: int, *, queries: int) -> Candidates:
    """The best k candidates of each query in order, scores as float32; each query must have k of them.

    Naive: `xmc.ranking.rank_hits`, whose order this is: score descending, then label row ascending.
    """
    scores_P = found.scores_P.float() + 0.0  # -0.0 becomes 0.0
    order = found.label_rows_P.argsort()
    order = order[scores_P[order].argsort(descending=True, stable=True)]
    order = order[found.query_rows_P[order].argsort(stable=True)]
    counts_Q = found.query_rows_P.bincount(minlength=queries)
    starts_Q = counts_Q.cumsum(0) - counts_Q
    places = (starts_Q[:, None] + torch.arange(k, device=scores_P.device)).flatten()
    kept = order[places]
    return Candidates(found.query_rows_P[kept], found.label_rows_P[kept], scores_P[kept])
