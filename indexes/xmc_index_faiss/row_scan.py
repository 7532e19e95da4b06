"""Exact search over some label rows: every one of them is scored, none is lost to rounding.

Letters: Q queries, D width, N rows of a slice, K wanted, P (query, label) pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xmc.api import (
    Hits,
    best_of_all,
    dot_pairs,
    float32_product_error,
    most_candidates,
    rank_hits,
    rounding_bounds,
)
from xmc_index_faiss.label_vectors import GatheredVectors

SLICE_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}  # of vectors brought together at a time, and of their scores
PAIRED_NUMBERS = {"cpu": 1 << 16, "cuda": 8 << 20}  # of pairs at a time, up to 32 bytes each: a cache, 256 MB
QUERIES = 256  # scored together


class _Found(NamedTuple):
    query_rows_P: Tensor
    label_rows_P: Tensor
    scores_P: Tensor


def scan_rows(
    queries_QD: np.ndarray[Any, Any], vectors: GatheredVectors, label_rows: np.ndarray[Any, Any], k: int
) -> Hits:
    """The true best k of these label rows for each query, ties to the lower row; the bits depend on the pair alone.

    Naive: `scores = (queries.double() @ vectors.double().T).float()`, then sort by (-score, label row).
    """
    k = min(k, len(label_rows))
    queries, rows = (torch.from_numpy(array).to(vectors.device) for array in (queries_QD, label_rows))
    is_zero_Q = ~queries.any(dim=1)
    found, others = [_tied(is_zero_Q.nonzero().flatten(), rows[:k])], (~is_zero_Q).nonzero().flatten()
    room = most_candidates(queries=len(queries), labels=len(rows), device=rows.device.type) + 4 * k * len(queries)
    for query_rows in others.split(QUERIES) if k else ():
        best = _best_of_group(queries[query_rows], vectors, rows, k, room)
        room -= len(best.scores_P)
        found.append(best._replace(query_rows_P=query_rows[best.query_rows_P]))
    columns = [torch.cat(column).cpu().numpy() for column in zip(*found, strict=True)]
    return rank_hits(*columns, queries=len(queries), k=max(k, 1))


def _best_of_group(queries_QD: Tensor, vectors: GatheredVectors, label_rows: Tensor, k: int, room: int) -> _Found:
    """Pairs with true scores, the best k of each query among them; all are scored where there is no room for others."""
    part = _scan_group(queries_QD, vectors, label_rows, k, room)
    if part is None:
        return _Found(*best_of_all(queries_QD, vectors.gather, label_rows, k))
    return part._replace(scores_P=rescore(queries_QD, vectors, part.query_rows_P, part.label_rows_P))


def rescore(queries_QD: Tensor, vectors: GatheredVectors, query_rows_P: Tensor, label_rows_P: Tensor) -> Tensor:
    """The score of each pair, summed in float64 in a fixed order, (P,), in slices that bound the memory."""
    step = max(1, PAIRED_NUMBERS[queries_QD.device.type] // queries_QD.shape[1])
    if len(query_rows_P) <= step:
        return dot_pairs(queries_QD[query_rows_P], vectors.gather(label_rows_P))
    parts = [
        dot_pairs(queries_QD[query_rows], vectors.gather(label_rows))
        for query_rows, label_rows in zip(query_rows_P.split(step), label_rows_P.split(step), strict=True)
    ]
    return torch.cat(parts)


def _tied(query_rows: Tensor, label_rows_K: Tensor) -> _Found:
    """Zero queries, which score 0 with every label, and the first rows: scored as others, each would keep all rows."""
    label_rows = label_rows_K.repeat(len(query_rows))
    scores = torch.zeros(len(label_rows), dtype=torch.float64, device=label_rows.device)
    return _Found(query_rows.repeat_interleave(len(label_rows_K)), label_rows, scores)


def _scan_group(queries_QD: Tensor, vectors: GatheredVectors, label_rows: Tensor, k: int, room: int) -> _Found | None:
    """Every pair whose float32 score may belong to the query's best k; None where there is no room for them."""
    step = max(1, SLICE_BYTES[queries_QD.device.type] // (4 * max(queries_QD.shape)))
    best_QK = queries_QD.new_full((len(queries_QD), k), -torch.inf)
    margins_Q = queries_QD.new_zeros(len(queries_QD), dtype=torch.float64)
    norms_Q = torch.linalg.vector_norm(queries_QD, dim=1, dtype=torch.float64)
    parts, shortened = [], float32_product_error()
    for rows in label_rows.split(step):
        vectors_ND = vectors.gather(rows)
        norm = float(torch.linalg.vector_norm(vectors_ND, dim=1, dtype=torch.float64).max())
        bounds_Q = rounding_bounds(norms_Q, norm, dimension=queries_QD.shape[1], further=shortened)
        margins_Q = torch.maximum(margins_Q, 2 * bounds_Q)
        scores_QN = queries_QD @ vectors_ND.T
        best_QK = torch.cat([best_QK, scores_QN], dim=1).topk(k, dim=1).values
        query_rows, columns = (scores_QN >= (best_QK[:, -1] - margins_Q)[:, None]).nonzero(as_tuple=True)
        parts.append(_Found(query_rows, rows[columns], scores_QN[query_rows, columns]))
        room -= len(query_rows)
        if room < 0:
            return None
    found = _Found(*(torch.cat(column) for column in zip(*parts, strict=True)))
    kept_P = found.scores_P >= (best_QK[:, -1] - margins_Q)[found.query_rows_P]
    return _Found(*(column[kept_P] for column in found))
