"""A built faiss index behind xmc's contract: checked queries, ragged hits, one order, plain files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import Hits, IndexReport, rank_hits, validate_k, validate_vectors
from xmc_index_faiss._import import write_faiss

if TYPE_CHECKING:
    from torch import Tensor

INDEX_FILE = "index.faiss"
FACTS_FILE = "index.json"


@dataclass(frozen=True, eq=False)
class FaissIndex:
    """An immutable faiss index over inner products; searched from any number of threads."""

    faiss_index: Any
    report: IndexReport

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The k labels that faiss finds best for each query, in the order of xmc among those it returns.

        faiss breaks ties at the k-th place as it likes, and its scores may differ in the last bit between batch sizes.
        Raises: ConfigError for k < 1; DataError for another width; NonFiniteError naming query rows.
        """
        validate_k(k)
        queries_QD = validate_vectors(queries_QD, what="query", dimension=self.report.dimension)
        queries = vectors_for_faiss(queries_QD, self.report.similarity)
        scores_QK, label_rows_QK = self.faiss_index.search(queries, min(k, self.report.labels))
        found_QK = (label_rows_QK >= 0) & np.isfinite(scores_QK)  # faiss fills a short answer with -1
        return rank_hits(
            np.nonzero(found_QK)[0], label_rows_QK[found_QK], scores_QK[found_QK], queries=len(queries), k=k
        )

    def save(self, folder: Path) -> None:
        """Write the faiss index and the facts (JSON) into an empty folder that the caller commits."""
        write_faiss(self.faiss_index, folder / INDEX_FILE)
        facts = {
            "similarity": self.report.similarity,
            "labels": self.report.labels,
            "dimension": self.report.dimension,
            "build_s": self.report.build_s,
        }
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def vectors_for_faiss(vectors_ND: Tensor, similarity: str) -> np.ndarray[Any, Any]:
    """Float32 rows for an inner-product index: divided by their norm for `cosine`, a zero row stays zero."""
    vectors = vectors_ND.cpu().numpy()
    if similarity == "dot":
        return vectors
    wide = vectors.astype(np.float64)
    norms_N = np.linalg.norm(wide, axis=1, keepdims=True)
    return (wide / np.where(norms_N == 0, 1.0, norms_N)).astype(np.float32)
