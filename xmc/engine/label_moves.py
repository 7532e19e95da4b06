"""Label vectors moved towards the training queries of the labels: how far, and which weight held-out queries prefer.

Shapes: L labels in the order of the index, Q queries, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xmc.api import Hits, normalise_rows
from xmc.evaluate.ndcg import ndcg_at_k
from xmc.evaluate.relevance import relevant_at_ranks
from xmc.option_ranges import require_at_least
from xmc.values import Positives

if TYPE_CHECKING:
    from torch import Tensor

GRID = (0.0, *(2.0**-step for step in range(7)))
IntArray = np.ndarray[Any, np.dtype[np.int64]]
LABELS_AT_ONCE = 16_384
BEST = 5  # of the ranking by which a weight is chosen


@dataclass(frozen=True)
class LabelOptions:
    """What a label's vector is made of, for the head `dual-encoder`.

    `query_weight`: what one training query of a label counts beside the label's text, in their mean; 0: the text alone.
    `auto` chooses 0 or one of 1, 1/2, ... 1/64, whichever has the best nDCG at 5 on the dev split.
    """

    query_weight: float | Literal["auto"] = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        if self.query_weight != "auto":
            require_at_least(0, self, "query_weight")


@dataclass(frozen=True, eq=False)
class MovableLabels:
    """Label vectors of texts alone, and of each label the sum of its training queries' embeddings and their weight."""

    texts_LD: Tensor
    sums_LD: Tensor
    counts_L: Tensor
    similarity: str

    def moved(self, query_weight: float, rows: slice | IntArray = slice(None)) -> Tensor:
        """(text + query_weight x sum) / (1 + query_weight x count), of length 1 where the similarity is cosine.

        >>> import torch
        >>> labels = MovableLabels(torch.ones(1, 2), torch.tensor([[2.0, 6.0]]), torch.tensor([2.0]), "dot")
        >>> labels.moved(0.5).tolist()
        [[1.0, 2.0]]
        """
        sums_LD, shares_L = self.sums_LD[rows], 1 + query_weight * self.counts_L[rows]
        vectors_LD = (self.texts_LD[rows] + query_weight * sums_LD) / shares_L[:, None]
        return normalise_rows(vectors_LD) if self.similarity == "cosine" else vectors_LD


def movable_labels(
    texts_LD: Tensor, queries: Iterable[Tensor], positives: Positives, *, similarity: str
) -> MovableLabels:
    """The labels with the sums of the embeddings of their training queries, which come in chunks in their order.

    A query counts for a label as much as the label is relevant to it.
    """
    import scipy.sparse
    import torch

    labels, dimension = texts_LD.shape
    relevance_LN = scipy.sparse.csc_matrix(
        (positives.weights, positives.label_rows, positives.offsets), shape=(labels, len(positives))
    )
    sums_LD, start = np.zeros((labels, dimension), np.float32), 0
    for chunk_ND in queries:
        part_LN = relevance_LN[:, start : start + len(chunk_ND)]
        rows = np.unique(part_LN.indices)
        sums_LD[rows] += part_LN.tocsr()[rows] @ chunk_ND.cpu().numpy()
        start += len(chunk_ND)
    counts_L = np.bincount(positives.label_rows, positives.weights, minlength=labels).astype(np.float32)
    return MovableLabels(texts_LD, torch.from_numpy(sums_LD), torch.from_numpy(counts_L), similarity)


def choose_query_weight(
    labels: MovableLabels, queries_QD: Tensor, positives: Positives
) -> tuple[float, dict[float, float]]:
    """The weight of `GRID` with the best nDCG at 5, of equal ones the smallest, and the nDCG of each."""
    ndcg_of = {weight: _ndcg(labels, weight, queries_QD, positives) for weight in GRID}
    return max(ndcg_of, key=lambda weight: ndcg_of[weight]), ndcg_of


def _ndcg(labels: MovableLabels, weight: float, queries_QD: Tensor, positives: Positives) -> float:
    import torch

    count, queries = len(labels.texts_LD), len(queries_QD)
    k = min(BEST, count)
    best_QK, rows_QK = torch.full((queries, 0), 0.0), torch.zeros((queries, 0), dtype=torch.int64)
    for start in range(0, count, LABELS_AT_ONCE):
        part_QL = queries_QD @ labels.moved(weight, slice(start, start + LABELS_AT_ONCE)).T
        scores, rows = part_QL.topk(min(k, part_QL.shape[1]), dim=1)
        best_QK, rows_QK = torch.cat([best_QK, scores], 1), torch.cat([rows_QK, rows + start], 1)
        best_QK, places = best_QK.topk(min(k, best_QK.shape[1]), dim=1)
        rows_QK = rows_QK.gather(1, places)
    hits = Hits(np.arange(queries + 1) * k, rows_QK.flatten().numpy(), best_QK.flatten().numpy())
    relevant = relevant_at_ranks(hits, positives, BEST, labels=count)
    return float(ndcg_at_k(relevant, positives.counts(), BEST).mean())
