"""A few vectors searched by scoring each of them: the added labels beside an index that is not built of so few.

Shapes: Q queries, N labels, E width, P (query, label) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xmc.api import (
    Hits,
    IndexReport,
    best_of_all,
    dot_pairs,
    float32_product_error,
    most_candidates,
    normalise_rows,
    rank_hits,
    rounding_bounds,
    validate_k,
    validate_vectors,
)
from xmc.retrieve.kept_search import no_hits

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SCORES_AT_ONCE = 4_000_000
NUMBERS_AT_ONCE = 1_000_000  # of the pairs that are summed exactly


@dataclass(frozen=True, eq=False)
class FlatScan:
    """Label vectors (of length 1 when the similarity is cosine), all scored.

    The bits of a score depend on its query and its label alone (see `xmc.fixed_order`), so equal vectors tie.
    """

    labels_NE: Tensor
    largest_norm: float
    report: IndexReport

    @classmethod
    def of(cls, vectors_NE: Tensor, *, similarity: str) -> FlatScan:
        """Over a copy of these vectors. Raises: DataError, NonFiniteError for vectors that cannot be."""
        vectors_NE = validate_vectors(vectors_NE.to_dense(), what="label")
        labels_NE = normalise_rows(vectors_NE) if similarity == "cosine" else vectors_NE.clone()
        size = labels_NE.numel() * labels_NE.element_size()
        report = IndexReport(
            backend="flat scan",
            similarity=similarity,
            labels=len(labels_NE),
            dimension=labels_NE.shape[1],
            device_used="cpu",
            memory_bytes=size,
            build_s=0.0,
            exact=True,
            options={},
            versions={},
        )
        largest_norm = float(_norms(labels_NE).max()) if len(labels_NE) else 0.0
        return cls(labels_NE, largest_norm, report)

    def search(self, queries_QE: Tensor, k: int) -> Hits:
        """The best k labels of each query. Raises: ConfigError for k < 1; DataError, NonFiniteError for queries."""
        return self.search_among(queries_QE, k, np.arange(len(self.labels_NE)))

    def search_among(self, queries_QE: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The best k of these label rows. Raises: as `search`."""
        k = validate_k(k)
        queries_QE = validate_vectors(queries_QE.to_dense(), what="query", dimension=self.report.dimension).cpu()
        if len(label_rows) == 0:
            return no_hits(len(queries_QE))
        queries_QE = normalise_rows(queries_QE) if self.report.similarity == "cosine" else queries_QE
        labels_NE = self.labels_NE
        if len(label_rows) < len(labels_NE):
            labels_NE = labels_NE[torch.from_numpy(label_rows)]
        wanted, step = min(k, len(label_rows)), max(1, SCORES_AT_ONCE // len(label_rows))
        parts = []
        for start in range(0, len(queries_QE), step):
            part_QE = queries_QE[start : start + step]
            errors_Q = rounding_bounds(
                _norms(part_QE), self.largest_norm, dimension=part_QE.shape[1], further=float32_product_error()
            )
            rows_P, columns_P, scores_P = (one.numpy() for one in _best(part_QE, labels_NE, wanted, errors_Q))
            parts.append(rank_hits(rows_P, label_rows[columns_P], scores_P, queries=len(part_QE), k=k))
        if not parts:
            return no_hits(0)
        found = (
            np.concatenate(column) for column in zip(*((one.label_rows, one.scores) for one in parts), strict=True)
        )
        return Hits(wanted * np.arange(len(queries_QE) + 1), *found)

    def save(self, folder: Path) -> None:
        """Not saved: it is made of the edits of a run each time. Raises: TypeError."""
        raise TypeError(f"a flat scan is not saved into {folder}; it is made of the label edits of a run.")


def _best(queries_QE: Tensor, labels_NE: Tensor, k: int, errors_Q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Query rows, label rows and true scores, (P,), of all pairs that may be among a query's best k, ties and all.

    Whatever a float32 product, which may be so far off, leaves open is summed in float64.
    """
    scores_QN = queries_QE @ labels_NE.T
    least_Q = scores_QN.topk(k, dim=1).values[:, -1].double() - 2 * errors_Q
    query_rows_P, columns_P = (scores_QN >= least_Q[:, None]).nonzero(as_tuple=True)
    queries, labels = scores_QN.shape
    if len(columns_P) > most_candidates(queries=queries, labels=labels, device="cpu") + 4 * k * queries:
        return best_of_all(queries_QE, labels_NE.__getitem__, torch.arange(labels), k)
    step = max(1, NUMBERS_AT_ONCE // labels_NE.shape[1])
    pairs = zip(query_rows_P.split(step), columns_P.split(step), strict=True)
    return query_rows_P, columns_P, torch.cat([dot_pairs(queries_QE[rows], labels_NE[cols]) for rows, cols in pairs])


def _norms(vectors_NE: Tensor) -> Tensor:
    return torch.linalg.vector_norm(vectors_NE, dim=1, dtype=torch.float64)
