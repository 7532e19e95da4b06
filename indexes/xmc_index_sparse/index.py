"""The built sparse index: an inverted table in memory, immutable, searched from any number of threads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import Hits, IndexReport, rank_hits, validate_k, validate_label_rows, validate_vectors
from xmc_index_sparse.rows import normalise_rows, to_rows

TABLE_FILE = "table.safetensors"
FACTS_FILE = "index.json"
_BYTES_PER_SCORE = 28  # in float64 with its column, dense in float64 and float32, and while the best are found


@dataclass(frozen=True, eq=False)
class SparseIndex:
    """For each feature the labels that have it, as CSR (D, L) in float64 (normalised when the similarity is cosine).

    Products of two float32 are exact in float64 and each score is the sum over ascending features, so the bits of an
    answer depend on its query alone.
    """

    table_DL: Any
    score_bytes: int
    report: IndexReport

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The true best k labels of each query, a dense or a CSR tensor; all labels when k is larger than their number.

        Naive: `scores = (queries.double() @ labels.double().T).float()`, then sort by (-score, label row).
        Raises: ConfigError for k < 1; DataError for another width; NonFiniteError naming query rows.
        """
        k = validate_k(k)
        return self._search(queries_QD, min(k, self.report.labels), None)

    def search_among(self, queries_QD: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The true best k of these label rows (ascending, each once); the same bits that `search` gives them.

        Every label is scored, then the others are left out: it costs as much as `search`.
        Raises: as `search`; DataError for rows that are not there, or not in ascending order.
        """
        k = validate_k(k)
        rows = validate_label_rows(label_rows, labels=self.report.labels)
        return self._search(queries_QD, min(k, len(rows)), rows)

    def _search(self, queries_QD: Tensor, k: int, allowed: np.ndarray[Any, Any] | None) -> Hits:
        checked = validate_vectors(queries_QD, what="query", dimension=self.report.dimension, sparse=True)
        rows_QD = to_rows(checked)
        if self.report.similarity == "cosine":
            rows_QD = normalise_rows(rows_QD)
        wide_QD = rows_QD.astype(np.float64)
        step = max(1, self.score_bytes // (_BYTES_PER_SCORE * self.report.labels))
        none = np.zeros(0, np.int64)
        parts = [(none, none, np.zeros(0, np.float32))]
        for start in range(0, wide_QD.shape[0] if k else 0, step):
            query_rows, label_rows, scores = self._best(wide_QD[start : start + step], k, allowed)
            parts.append((query_rows + start, label_rows, scores))
        query_rows, label_rows, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
        return rank_hits(query_rows, label_rows, scores, queries=wide_QD.shape[0], k=k)

    def save(self, folder: Path) -> None:
        """Write the table (safetensors) and facts (JSON) into an empty folder that the caller commits."""
        from safetensors.numpy import save_file

        table_DL = self.table_DL
        arrays = {
            "weights": table_DL.data.astype(np.float32),
            "label_rows": table_DL.indices.astype(np.int32),
            "offsets": table_DL.indptr.astype(np.int64),
        }
        save_file(arrays, folder / TABLE_FILE)
        report = self.report
        facts = {
            "similarity": report.similarity,
            "build_s": report.build_s,
            "labels": report.labels,
            "dimension": report.dimension,
        }
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def _best(self, wide_QD: Any, k: int, allowed: np.ndarray[Any, Any] | None) -> tuple[np.ndarray[Any, Any], ...]:
        """Query rows, label rows and scores of the best k of each query; of those that tie the lower rows."""
        scores_QL = torch.from_numpy((wide_QD @ self.table_DL).toarray()).float()
        if allowed is not None:
            scores_QL = scores_QL[:, torch.from_numpy(allowed)]
        least_Q = scores_QL.topk(k, dim=1).values[:, -1:]
        kept_QL = scores_QL >= least_Q
        wide_S = (kept_QL.sum(dim=1) > k).nonzero().flatten()
        if len(wide_S):  # such as a query of few words: all labels without them have the score 0
            tied_SL = scores_QL[wide_S] == least_Q[wide_S]
            room_S1 = k - (kept_QL[wide_S] & ~tied_SL).sum(dim=1, keepdim=True)
            kept_QL[wide_S] &= ~tied_SL | (tied_SL.cumsum(dim=1, dtype=torch.int32) <= room_S1)
        query_rows, columns = kept_QL.nonzero(as_tuple=True)
        label_rows = columns.numpy() if allowed is None else allowed[columns.numpy()]
        return query_rows.numpy(), label_rows, scores_QL[query_rows, columns].numpy()
