"""A built faiss index behind xmc's contract: checked queries, ragged full lists, one order, filters, plain files.

Shapes: Q queries, D width, K wanted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.api import Hits, IndexReport, checked_array, checked_units, rank_hits, validate_k, validate_label_rows
from xmc_index_faiss._import import import_faiss, write_faiss
from xmc_index_faiss.device import on_gpu
from xmc_index_faiss.gpu import OnGpu
from xmc_index_faiss.gpu_vectors import FEWEST_ON_GPU
from xmc_index_faiss.label_vectors import LabelVectors
from xmc_index_faiss.one_query import OneQuery
from xmc_index_faiss.ordered import ordered_hits
from xmc_index_faiss.rescoring import best_rescored
from xmc_index_faiss.row_scan import scan_rows

if TYPE_CHECKING:
    from torch import Tensor

INDEX_FILE = "index.faiss"
FACTS_FILE = "index.json"
_CELL_GAIN = 10  # measured, as the next two: benchmarks/bench_filtered_search.py
_WALK_GAIN = 100  # labels that a scan scores for a large batch in the time of one step of a walk
_WALK_HALF = 20  # the batch at which half of that is reached
_RAISE = 4  # a query with too few answers is searched again with so many times the effort

Found = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]  # scores and label rows, (Q, K) each, -1 for no label


@dataclass(frozen=True, eq=False)
class FaissIndex:
    """An immutable faiss index over inner products; searched from any number of threads.

    Kinds of index differ in `effort`, the option that trades time for better answers (nprobe, ef; 0 for none).
    With `gpu` the search is done by a copy there; proofs and files use the index in the host's memory, and so do
    filters where that copy is without the full vectors.
    """

    faiss_index: Any
    vectors: LabelVectors
    report: IndexReport
    gpu: OnGpu | None = field(default=None, kw_only=True)

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The k labels that faiss finds best for each query, min(k, labels) of them, in the order of xmc.

        faiss breaks ties at the k-th place as it likes, and its scores may differ in the last bit between batch sizes.
        Raises: ConfigError for k < 1; DataError for another width; NonFiniteError naming query rows.
        """
        k = validate_k(k)
        queries = self._checked(queries_QD)
        return self._found_hits(queries, min(k, self.report.labels))

    def search_among(self, queries_QD: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The best k of these label rows (ascending, each once): always min(k, rows) of them.

        Few rows are all scored, exactly; of many, faiss visits those that the filter lets through, with as much more
        effort as the filter leaves out. Raises: as `search`; DataError for rows that are not there or not in order.
        """
        k = validate_k(k)
        rows = validate_label_rows(label_rows, labels=self.report.labels)
        queries = self._checked(queries_QD)
        if self.gpu or len(rows) <= self._most_scanned(len(queries), k):
            return self._scanned(queries, rows, k)
        return self._found_hits(queries, min(k, len(rows)), rows)

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

    @property
    def effort(self) -> int:
        """How much of the index a search visits."""
        return 0

    @property
    def most_effort(self) -> int:
        """Where more effort finds no more."""
        return 0

    def _most_scanned(self, queries: int, k: int) -> int:
        """Up to so many allowed rows an exact scan is the better search."""
        del queries, k
        return self.report.labels

    def _scanned_beside_cells(self, queries: int, k: int) -> int:
        """As many labels as the visited cells hold for one query, ten times as many for a batch, which shares them."""
        visited = self.effort / self.most_effort * self.report.labels
        return int(max(k, _CELL_GAIN * visited * queries / (queries + _CELL_GAIN - 1)))

    def _scanned_beside_a_walk(self, queries: int, k: int) -> int:
        """Where n scored labels cost as much as a walk that keeps effort x labels / n in view."""
        gain = _WALK_GAIN * queries / (queries + _WALK_HALF)
        return int((gain * max(self.effort, k) * self.report.labels) ** 0.5)

    @cached_property
    def _plain(self) -> tuple[int, Any]:
        """Effort and parameters of a search without a filter: making them anew takes as long as a small search."""
        return self.effort, None if self.gpu else self._parameters(self.effort, None)

    @cached_property
    def _one_query(self) -> OneQuery:
        return OneQuery(self.faiss_index)

    def _parameters(self, effort: int, selector: Any) -> Any:
        """What faiss wants to be told about one search."""
        del effort
        return import_faiss().SearchParameters(sel=selector) if selector is not None else None

    def _checked(self, queries_QD: Tensor) -> np.ndarray[Any, Any]:
        check = checked_units if self.report.similarity == "cosine" else checked_array
        return check(queries_QD, what="query", dimension=self.report.dimension)

    def _found_hits(self, queries: np.ndarray[Any, Any], k: int, rows: np.ndarray[Any, Any] | None = None) -> Hits:
        """Hits of all labels or of these rows; a query with a short list is searched again, then scanned."""
        effort, selector = self._plain[0], None
        if rows is not None:
            selector = _selector(rows, self.report.labels)
            effort = min(self.most_effort, effort * self.report.labels // len(rows))
        found = scores_QK, rows_QK = self._ask(queries, k, effort, selector)
        if (hits := ordered_hits(scores_QK, rows_QK)) is not None:
            return hits
        while (short_S := np.flatnonzero(rows_QK[:, -1] < 0)).size and effort < self.most_effort:
            effort = min(self.most_effort, effort * _RAISE)
            scores_QK[short_S], rows_QK[short_S] = self._ask(queries[short_S], k, effort, selector)
        return self._completed(queries, found, k, rows)

    def _ask(self, queries: np.ndarray[Any, Any], k: int, effort: int, selector: Any) -> Found:
        """One search by faiss."""
        if self.gpu:
            return self.gpu.search(queries, k, effort)
        plain_effort, parameters = self._plain
        if selector is not None or effort != plain_effort:
            parameters = self._parameters(effort, selector)
        if len(queries) == 1:
            return self._one_query.search(queries, k, parameters)
        found: Found = self.faiss_index.search(queries, k, params=parameters)
        return found

    def _scanned(self, queries: np.ndarray[Any, Any], rows: np.ndarray[Any, Any], k: int) -> Hits:
        """The true best k of these rows, scored on the GPU where that has the vectors."""
        if not (self.gpu and self.gpu.vectors):
            return scan_rows(queries, self.vectors, rows, k)
        with on_gpu("score the labels", who="torch"):
            return scan_rows(queries, self.gpu.vectors, rows, k)

    def _best_rescored(self, queries: np.ndarray[Any, Any], rows_QM: np.ndarray[Any, Any], k: int) -> Found:
        """The best k of the candidates by their true scores, on the GPU where that has the vectors."""
        if self.gpu and self.gpu.vectors and rows_QM.size >= FEWEST_ON_GPU:
            with on_gpu("score the candidates", who="torch"):
                return self.gpu.vectors.best(queries, rows_QM, k)
        return best_rescored(queries, self.vectors, rows_QM, k)

    def _completed(
        self, queries: np.ndarray[Any, Any], found: Found, k: int, rows: np.ndarray[Any, Any] | None
    ) -> Hits:
        """The hits in order; lists that are short even with all effort come from a scan of every allowed row."""
        scores_QK, rows_QK = found
        if (hits := ordered_hits(scores_QK, rows_QK)) is not None:
            return hits
        whole_QK = (rows_QK >= 0) & np.isfinite(scores_QK)
        short_S = np.flatnonzero(~whole_QK.all(axis=1))
        whole_QK[short_S] = False
        query_rows, label_rows, scores = np.nonzero(whole_QK)[0], rows_QK[whole_QK], scores_QK[whole_QK]
        if short_S.size:
            among = np.arange(self.report.labels) if rows is None else rows
            scanned = self._scanned(queries[short_S], among, k)
            query_rows = np.concatenate((query_rows, np.repeat(short_S, np.diff(scanned.offsets))))
            label_rows = np.concatenate((label_rows, scanned.label_rows))
            scores = np.concatenate((scores, scanned.scores))
        return rank_hits(query_rows, label_rows, scores, queries=len(queries), k=k)


def _selector(rows: np.ndarray[Any, Any], labels: int) -> Any:
    """A faiss bitmap of the allowed rows (faiss's Python class keeps the array alive)."""
    allowed_L = np.zeros(labels, dtype=bool)
    allowed_L[rows] = True
    return import_faiss().IDSelectorBitmap(np.packbits(allowed_L, bitorder="little"))
