"""The built exact index: a label matrix in memory, immutable, searched from any number of threads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xmc.api import Hits, IndexReport, rank_hits, validate_k, validate_vectors
from xmc_index_exact.fixed_order import dot_pairs, normalise_rows
from xmc_index_exact.scan import Candidates, find_candidates

LABELS_FILE = "labels.safetensors"
REPORT_FILE = "index.json"
_RESCORE_BYTES = 32 << 20
_FLOAT32_UNIT = 2.0**-24
_FLOAT32_TINY = 2.0**-126


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """Labels (normalised already when the similarity is cosine) with what is needed to bound rounding errors."""

    labels_LD: Tensor
    largest_norm: float
    score_memory_bytes: int
    report: IndexReport

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The true best k labels of each query; all labels when k is larger than their number.

        Naive: `scores = (queries.double() @ labels.double().T).float()`, then sort by (-score, label row).
        The bits of an answer depend on its query alone: not on the batch, the threads or other labels.
        Raises: ConfigError for k < 1; DataError for another width; NonFiniteError naming query rows.
        """
        validate_k(k)
        queries_QD = validate_vectors(queries_QD, what="query", dimension=self.report.dimension)
        queries_QD = queries_QD.to(self.labels_LD.device)
        if self.report.similarity == "cosine":
            queries_QD = normalise_rows(queries_QD)
        k = min(k, self.report.labels)
        if len(queries_QD) == 0:
            found = Candidates(*(torch.zeros(0, dtype=dtype) for dtype in (torch.int64, torch.int64, torch.float64)))
        else:
            found = self._candidates(queries_QD, k)
        query_rows, label_rows, scores = (part.cpu().numpy() for part in found)
        return rank_hits(query_rows, label_rows, scores, queries=len(queries_QD), k=k)

    def save(self, folder: Path) -> None:
        """Write labels (safetensors) and report (JSON) into an empty folder that the caller commits."""
        from safetensors.torch import save_file

        save_file({"labels_LD": self.labels_LD.cpu()}, folder / LABELS_FILE)
        facts = {"similarity": self.report.similarity, "build_s": self.report.build_s}
        (folder / REPORT_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def _candidates(self, queries_QD: Tensor, k: int) -> Candidates:
        norms_Q = torch.linalg.vector_norm(queries_QD, dim=1)
        found = find_candidates(
            queries_QD,
            self.labels_LD,
            k,
            margins_Q=2 * self._error_bound(norms_Q),
            memory_bytes=self.score_memory_bytes,
        )
        return found._replace(scores_P=self._rescored(queries_QD, found))

    def _error_bound(self, norms_Q: Tensor) -> Tensor:
        """Bound on |float32 matrix product - true score| for any order of summation, after rounding to float32.

        gamma_D * |q| * |v| with room for the norms' own rounding, plus what underflow may lose.
        Reference: Higham 2002, section 3.1.
        """
        dimension = self.report.dimension
        relative = 1.05 * (dimension + 8) * _FLOAT32_UNIT
        underflow = dimension * _FLOAT32_TINY * (1 + norms_Q + self.largest_norm)
        return relative * norms_Q * self.largest_norm + underflow

    def _rescored(self, queries_QD: Tensor, found: Candidates) -> Tensor:
        """Scores of the candidates in the fixed order, in slices that bound the memory."""
        step = max(1, _RESCORE_BYTES // (8 * self.report.dimension))
        slices = zip(found.query_rows_P.split(step), found.label_rows_P.split(step), strict=True)
        return torch.cat([dot_pairs(queries_QD[rows], self.labels_LD[columns]) for rows, columns in slices])
