"""A few vectors searched by scoring each of them: the added labels beside an index that is not exact.

Shapes: Q queries, N labels, E width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import normalize

from xmc.api import Hits, IndexReport, rank_hits, validate_k, validate_vectors
from xmc.retrieve.kept_search import no_hits

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SCORES_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class FlatScan:
    """Label vectors (of length 1 when the similarity is cosine), all scored in float32."""

    labels_NE: Tensor
    report: IndexReport

    @classmethod
    def of(cls, vectors_NE: Tensor, *, similarity: str) -> FlatScan:
        """Over a copy of these vectors. Raises: DataError, NonFiniteError for vectors that cannot be."""
        vectors_NE = validate_vectors(vectors_NE.to_dense(), what="label")
        labels_NE = normalize(vectors_NE, dim=1) if similarity == "cosine" else vectors_NE.clone()
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
        return cls(labels_NE, report)

    def search(self, queries_QE: Tensor, k: int) -> Hits:
        """The best k labels of each query. Raises: ConfigError for k < 1; DataError, NonFiniteError for queries."""
        return self.search_among(queries_QE, k, np.arange(len(self.labels_NE)))

    def search_among(self, queries_QE: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The best k of these label rows. Raises: as `search`."""
        validate_k(k)
        if len(label_rows) == 0:
            return no_hits(queries_QE.shape[0])
        queries_QE = validate_vectors(queries_QE.to_dense(), what="query", dimension=self.report.dimension).cpu()
        queries_QE = normalize(queries_QE, dim=1) if self.report.similarity == "cosine" else queries_QE
        labels_NE = self.labels_NE
        if len(label_rows) < len(labels_NE):
            labels_NE = labels_NE[torch.from_numpy(label_rows)]
        wanted, step = min(k, len(label_rows)), max(1, SCORES_AT_ONCE // len(label_rows))
        parts = []
        for start in range(0, len(queries_QE), step):
            scores_QN = queries_QE[start : start + step] @ labels_NE.T
            least_Q = scores_QN.topk(wanted, dim=1).values[:, -1:]
            query_rows, columns = (scores_QN >= least_Q).nonzero(as_tuple=True)  # ties at the k-th place and all
            parts.append(
                (query_rows.numpy() + start, label_rows[columns.numpy()], scores_QN[query_rows, columns].numpy())
            )
        if not parts:
            return no_hits(0)
        found = (np.concatenate(column) for column in zip(*parts, strict=True))
        return rank_hits(*found, queries=len(queries_QE), k=k)

    def save(self, folder: Path) -> None:
        """Not saved: it is made of the edits of a run each time. Raises: TypeError."""
        raise TypeError(f"a flat scan is not saved into {folder}; it is made of the label edits of a run.")
