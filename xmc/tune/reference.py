"""The exact answers to the tuning queries, found once, and the share of them that an index finds.

Shapes: Q queries, L labels, N labels of a chunk, E width of a vector, C candidates of a query, H hits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.checks.brute_force import row_norms, score_margins
from xmc.encode.csr import wide_unit_rows
from xmc.tune.label_vectors import LabelVectors
from xmc.values import Hits

MORE = 16  # candidates beyond k that the float32 scan hands on, so that its rounding cannot matter
_QUERIES = 1024
_PAIR_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Reference:
    """For each query the score of its k-th best label, and how far below it others count as equal, both float64.

    `wanted` is k, or all labels where there are fewer.
    """

    labels: LabelVectors
    queries_QE: Tensor
    last_Q: np.ndarray[Any, Any]
    margins_Q: np.ndarray[Any, Any]
    wanted: int

    def __len__(self) -> int:
        return len(self.queries_QE)

    def shares(self, hits: Hits) -> np.ndarray[Any, Any]:
        """The share of each query's true top k among its hits, (Q,); 1 is an exact answer.

        A hit counts when its true score reaches that of the k-th best label, within 1e-5 of the product of the norms of
        the query and of the longest label.
        """
        query_rows_H = hits.query_rows()
        scores_H = pair_scores(self.labels, self.queries_QE, query_rows_H, hits.label_rows)
        reached_H = scores_H >= (self.last_Q - self.margins_Q)[query_rows_H]
        found_Q = np.bincount(query_rows_H, reached_H, len(hits))
        return np.minimum(found_Q / self.wanted, 1.0)


def exact_reference(labels: LabelVectors, queries_QE: Tensor, k: int) -> Reference:
    """Scan all labels for each query in float32, score the best k + 16 again in float64, keep the k-th score.

    Naive: `np.sort(queries @ labels.T)[:, -k]`.
    """
    queries_QE = queries_QE.detach().float().cpu()
    wanted = min(k, len(labels))
    last = [_last_scores(labels, part_QE, wanted) for part_QE in queries_QE.split(_QUERIES)]
    largest_norm = max(float(row_norms(labels_NE).max()) for labels_NE in labels.chunks())
    margins_Q = score_margins(queries_QE, largest_norm, labels.similarity)
    return Reference(labels, queries_QE, np.concatenate(last), margins_Q, wanted)


def _last_scores(labels: LabelVectors, queries_QE: Tensor, wanted: int) -> np.ndarray[Any, Any]:
    kept = min(wanted + MORE, len(labels))
    scores_QC = queries_QE.new_empty(len(queries_QE), 0)
    rows_QC = torch.empty(len(queries_QE), 0, dtype=torch.int64)
    unit_QE = _unit_rows(queries_QE, labels.similarity)
    start = 0
    for labels_NE in labels.chunks():
        scores_QN = unit_QE @ _unit_rows(labels_NE, labels.similarity).T
        best = scores_QN.topk(min(kept, len(labels_NE)), dim=1)
        scores_QC = torch.cat((scores_QC, best.values), dim=1)
        rows_QC = torch.cat((rows_QC, best.indices + start), dim=1)
        best = scores_QC.topk(min(kept, scores_QC.shape[1]), dim=1)
        scores_QC, rows_QC = best.values, rows_QC.gather(1, best.indices)
        start += len(labels_NE)
    query_rows = np.repeat(np.arange(len(queries_QE)), kept)
    true_QC = pair_scores(labels, queries_QE, query_rows, rows_QC.numpy().ravel()).reshape(-1, kept)
    return np.asarray(np.sort(true_QC, axis=1)[:, kept - wanted])


def pair_scores(
    labels: LabelVectors, queries_QE: Tensor, query_rows_H: np.ndarray[Any, Any], label_rows_H: np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """True scores of (query, label) pairs, float64, (H,), in slices that bound the memory."""
    step = max(1, _PAIR_BYTES // (16 * labels.dimension))
    scores_H = np.empty(len(query_rows_H))
    for start in range(0, len(query_rows_H), step):
        part = slice(start, start + step)
        left_HE = _unit_rows(queries_QE[torch.from_numpy(query_rows_H[part])].double(), labels.similarity)
        right_HE = _unit_rows(labels.take(label_rows_H[part]).double(), labels.similarity)
        scores_H[part] = torch.linalg.vecdot(left_HE, right_HE).numpy()
    return scores_H


def _unit_rows(vectors_NE: Tensor, similarity: str) -> Tensor:
    return wide_unit_rows(vectors_NE).to(vectors_NE.dtype) if similarity == "cosine" else vectors_NE
