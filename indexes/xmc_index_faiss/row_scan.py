"""Exact search over some label rows: every one of them is scored, none is lost to rounding.

Letters: Q queries, D width, N rows of a slice, K wanted, P (query, label) pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from xmc.api import Hits, dot_pairs, float32_product_error, rank_hits
from xmc_index_faiss.label_vectors import GatheredVectors, LabelVectors

SLICE_BYTES = {"cpu": 8 << 20, "cuda": 256 << 20}  # of vectors brought together at a time, and of their scores
QUERIES = 256  # scored together
FEW_PAIRS = 512  # as many are scored exactly at once in the time of finding out which need not be
_UNIT = 2.0**-24
_TINY = 2.0**-126
_SLACK = 1.05


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
    found = [_Found(rows[:0], rows[:0], queries[:0, :0].flatten())]
    for start in range(0, len(queries) if k else 0, QUERIES):
        part = _scan_group(queries[start : start + QUERIES], vectors, rows, k)
        part = part._replace(scores_P=rescore(queries[start : start + QUERIES], vectors, part[0], part[1]))
        found.append(part._replace(query_rows_P=part.query_rows_P + start))
    columns = [torch.cat(column).cpu().numpy() for column in zip(*found, strict=True)]
    return rank_hits(*columns, queries=len(queries), k=max(k, 1))


def rescore(queries_QD: Tensor, vectors: GatheredVectors, query_rows_P: Tensor, label_rows_P: Tensor) -> Tensor:
    """The score of each pair, summed in float64 in a fixed order, (P,), in slices that bound the memory."""
    step = max(1, SLICE_BYTES[queries_QD.device.type] // (8 * queries_QD.shape[1]))
    parts = [
        dot_pairs(queries_QD[query_rows], vectors.gather(label_rows))
        for query_rows, label_rows in zip(query_rows_P.split(step), label_rows_P.split(step), strict=True)
    ]
    return torch.cat(parts) if parts else queries_QD[:0, :0].flatten().double()


def best_rescored(
    queries_QD: np.ndarray[Any, Any], vectors: LabelVectors, rows_QM: np.ndarray[Any, Any], k: int
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Scores and rows (Q, K) of the best k candidates by their true scores; places without one (-1) are last."""
    scores_QM = np.empty(rows_QM.shape, dtype=np.float32)
    step = max(1, SLICE_BYTES["cpu"] // max(1, 4 * rows_QM.shape[1] * queries_QD.shape[1]))
    for start in range(0, len(rows_QM), step):
        part = slice(start, start + step)
        scores_QM[part] = _scores_of_best(queries_QD[part], vectors, rows_QM[part], k)
    order_QK = np.lexsort((rows_QM, -scores_QM), axis=1)[:, :k]
    return np.take_along_axis(scores_QM, order_QK, 1), np.take_along_axis(rows_QM, order_QK, 1)


def _scores_of_best(
    queries_QD: np.ndarray[Any, Any], vectors: LabelVectors, rows_QM: np.ndarray[Any, Any], k: int
) -> np.ndarray[Any, Any]:
    """The true scores of all candidates that may be among the query's best k, minus infinity in other places."""
    is_there_QM = rows_QM >= 0
    vectors_QMD = vectors.take(np.where(is_there_QM, rows_QM, 0).ravel()).reshape(*rows_QM.shape, -1)
    may_be_QM = is_there_QM
    if rows_QM.shape[1] > k and rows_QM.size >= FEW_PAIRS:
        quick_QM = np.where(is_there_QM, np.einsum("qmd,qd->qm", vectors_QMD, queries_QD), -np.inf)
        largest = float(np.sqrt(np.einsum("qmd,qmd->qm", vectors_QMD, vectors_QMD).max()))
        margins_Q = 2 * rounding_bounds(torch.from_numpy(queries_QD), largest).numpy()
        kth_Q = np.partition(quick_QM, -k, axis=1)[:, -k]
        may_be_QM = is_there_QM & (quick_QM >= (kth_Q - margins_Q)[:, None])
    places = np.nonzero(may_be_QM)
    pairs = torch.from_numpy(queries_QD[places[0]]), torch.from_numpy(vectors_QMD[places])
    scores_QM = np.full(rows_QM.shape, -np.inf, dtype=np.float32)
    scores_QM[places] = dot_pairs(*pairs).numpy()
    return scores_QM


def rounding_bounds(queries_QD: Tensor, largest_norm: float, *, reduced: float = 0.0) -> Tensor:
    """How far a float32 product with a vector of at most this norm can be from the true score, float64, (Q,).

    `reduced` is the share of a product by which torch may shorten it (`xmc.api.float32_product_error`).

    Reference: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1, for any order of summation.
    """
    norms_Q = torch.linalg.vector_norm(queries_QD, dim=1, dtype=torch.float64)
    dimension = queries_QD.shape[1]
    relative = ((dimension + 8) * _UNIT + reduced) * norms_Q * largest_norm
    return _SLACK * (relative + dimension * _TINY * (1 + norms_Q + largest_norm))


def _scan_group(queries_QD: Tensor, vectors: GatheredVectors, label_rows: Tensor, k: int) -> _Found:
    """Every pair whose float32 score may belong to the query's best k."""
    step = max(1, SLICE_BYTES[queries_QD.device.type] // (4 * max(queries_QD.shape)))
    best_QK = queries_QD.new_full((len(queries_QD), k), -torch.inf)
    margins_Q = queries_QD.new_zeros(len(queries_QD), dtype=torch.float64)
    parts, reduced = [], float32_product_error()
    for rows in label_rows.split(step):
        vectors_ND = vectors.gather(rows)
        norm = float(torch.linalg.vector_norm(vectors_ND, dim=1, dtype=torch.float64).max())
        margins_Q = torch.maximum(margins_Q, 2 * rounding_bounds(queries_QD, norm, reduced=reduced))
        scores_QN = queries_QD @ vectors_ND.T
        best_QK = torch.cat([best_QK, scores_QN], dim=1).topk(k, dim=1).values
        query_rows, columns = (scores_QN >= (best_QK[:, -1] - margins_Q)[:, None]).nonzero(as_tuple=True)
        parts.append(_Found(query_rows, rows[columns], scores_QN[query_rows, columns]))
    found = _Found(*(torch.cat(column) for column in zip(*parts, strict=True)))
    kept_P = found.scores_P >= (best_QK[:, -1] - margins_Q)[found.query_rows_P]
    return _Found(*(column[kept_P] for column in found))
