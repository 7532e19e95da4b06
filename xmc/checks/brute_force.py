"""The true top k by scoring every label in float64, as the measure of what an index answered.

Shapes: Q queries, N labels of a chunk, E width of an index vector, H hits, K ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.check_contract import CheckRetriever
from xmc.encode.csr import scipy_rows, wide_unit_rows
from xmc.values import Hits

TOLERANCE = 1e-5  # of |query| x the largest |label|: a label whose score is so near to the k-th best counts as equal


@dataclass(frozen=True)
class IndexSpace:
    """Queries and labels as the index sees them: `queries_QE`, and chunks of label vectors in the order of its rows."""

    queries_QE: Tensor
    label_chunks: Iterable[Tensor]
    similarity: str


def index_space(retriever: CheckRetriever, texts: Sequence[str]) -> IndexSpace:
    """Embed the texts, map them to index queries where the head wants it, and make the label vectors anew."""
    queries_QD = retriever.encode(texts)
    chunks, query_map = retriever.model.label_vectors(retriever.labels)
    queries_QE = query_map.queries(queries_QD) if query_map else queries_QD
    return IndexSpace(queries_QE, chunks, retriever.report.similarity)


def found_shares(space: IndexSpace, found: Sequence[tuple[Hits, int]]) -> list[np.ndarray[Any, Any]]:
    """For each (hits, k): the share of each query's true top k among its hits, (Q,); the labels are walked once.

    A hit counts when its true score reaches that of the k-th best label, within the tolerance; 1 is an exact answer.
    """
    queries_QE = _as_scored(space.queries_QE, space.similarity)
    best_QK = torch.zeros(len(queries_QE), 0, dtype=torch.float64, device=queries_QE.device)
    deepest = max(k for _, k in found)
    true_scores = [np.full(len(hits.scores), -np.inf) for hits, _ in found]
    largest_norm = 0.0
    start = 0
    for labels_NE in space.label_chunks:
        scores_QN = _all_products(queries_QE, _as_scored(labels_NE.detach(), space.similarity))
        for (hits, _), scores_H in zip(found, true_scores, strict=True):
            inside_H = (hits.label_rows >= start) & (hits.label_rows < start + len(labels_NE))
            query_rows_H = hits.query_rows()
            columns = torch.from_numpy(hits.label_rows[inside_H] - start)
            scores_H[inside_H] = scores_QN[torch.from_numpy(query_rows_H[inside_H]), columns].cpu().numpy()
        best_QK = torch.cat((best_QK, scores_QN), dim=1)
        best_QK = best_QK.topk(min(deepest, best_QK.shape[1]), dim=1).values
        start += len(labels_NE)
        largest_norm = max(largest_norm, float(row_norms(labels_NE.detach()).max(initial=0)))
    margins_Q, best = score_margins(space.queries_QE, largest_norm, space.similarity), best_QK.cpu().numpy()
    return [_share(hits, scores_H, best, margins_Q, k) for (hits, k), scores_H in zip(found, true_scores, strict=True)]


def score_margins(queries_QE: Tensor, largest_norm: float, similarity: str) -> np.ndarray[Any, Any]:
    """How far below the k-th best score of each query a label counts as equal to it, float64 (Q,).

    `largest_norm` is that of any label. It grows and shrinks with the vectors, as scores and their rounding do.

    >>> score_margins(torch.tensor([[0.3, 0.4]]), 0.01, "dot").round(10).tolist()
    [5e-08]
    """
    if similarity == "cosine":
        return np.full(len(queries_QE), TOLERANCE)
    return TOLERANCE * largest_norm * row_norms(queries_QE)


def row_norms(vectors_NE: Tensor) -> np.ndarray[Any, Any]:
    """The norm of each row of a dense or CSR tensor, float64 (N,)."""
    if vectors_NE.layout != torch.sparse_csr:
        return np.asarray(torch.linalg.vector_norm(vectors_NE, dim=1, dtype=torch.float64).cpu().numpy())
    counts_N, values = vectors_NE.crow_indices().diff().cpu().numpy(), vectors_NE.values().double().cpu().numpy()
    rows = np.repeat(np.arange(len(counts_N)), counts_N)
    return np.sqrt(np.bincount(rows, values**2, minlength=len(counts_N)))


def _share(
    hits: Hits, scores_H: np.ndarray[Any, Any], best_QK: np.ndarray[Any, Any], margins_Q: np.ndarray[Any, Any], k: int
) -> np.ndarray[Any, Any]:
    wanted = min(k, best_QK.shape[1])
    query_rows_H = hits.query_rows()
    reached_H = scores_H >= (best_QK[:, wanted - 1] - margins_Q)[query_rows_H]
    return np.asarray(np.bincount(query_rows_H, reached_H, len(hits)) / wanted)


def _as_scored(vectors: Tensor, similarity: str) -> Tensor:
    return wide_unit_rows(vectors) if similarity == "cosine" else vectors.double()


def _all_products(queries_QE: Tensor, labels_NE: Tensor) -> Tensor:
    """The score of each query with each label, (Q, N) float64 dense; sparse rows are never made dense themselves."""
    if torch.sparse_csr not in (queries_QE.layout, labels_NE.layout):
        return queries_QE @ labels_NE.T
    return torch.from_numpy((scipy_rows(queries_QE) @ scipy_rows(labels_NE).T).toarray())
