"""Answers of an inverted file that are proven to be the true top k.

A label that was not looked at is in a cell that was not visited, where `CellBounds` limits its score, or in a visited
cell behind the last candidate that faiss gave, whose score (plus faiss's error) limits it. Where both limits, rounded
to float32 as scores are, lie below the k-th true score, nothing can be missing: a tie at the k-th place is no proof.

Shapes: Q queries, C cells, V visited, K wanted, M candidates.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from xmc.api import Hits, rank_hits
from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.cell_bounds import CellBounds
from xmc_index_faiss.label_vectors import LabelVectors
from xmc_index_faiss.row_scan import rescore, scan_rows
from xmc_index_faiss.score_error import ScoreError, norms

EXTRA = 16  # candidates beyond k: they tell how good the best label can be that was not given
NUMBERS = 1 << 20  # of queries times cells, or times candidates, looked at together: a few arrays of so many are held
MOST_SHARE = 0.5  # of the labels in cells that are still to be visited: from there on all labels are scored

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Prover:
    """What a proof needs: the faiss index, the true vectors of its labels, and where they lie.

    Of codes, `deepen` x k candidates are looked at.
    """

    faiss_index: Any
    vectors: LabelVectors
    bounds: CellBounds
    centroids_CD: Array
    deepen: int = 1

    def proven(self, queries_QD: Array, hits: Hits, k: int, nprobe: int) -> Array:
        """For each query whether these hits are the true top k, having looked into its nearest cells, (Q,) bool."""
        k = min(k, self.faiss_index.ntotal)
        parts = [self._proven(queries_QD[rows], hits.take(rows), k, nprobe) for rows in self._slices(queries_QD, k)]
        return np.concatenate(parts)

    def _proven(self, queries_QD: Array, hits: Hits, k: int, nprobe: int) -> Array:
        state = _State(self, queries_QD, k)
        state.visit(np.arange(len(queries_QD)), self._nearest(queries_QD, nprobe))
        limits_Q = np.maximum(state.inside_Q, np.where(state.visited_QC, -np.inf, state.outside_QC).max(1))
        found = state.hits()
        same_Q = [np.array_equal(one, other) for (one, _), (other, _) in zip(hits, found, strict=True)]
        return np.array(same_Q, dtype=bool) & (limits_Q < state.scores_QK[:, -1])  # of a list that is not full, -inf

    def exact(self, queries_QD: Array, k: int, nprobe: int) -> Hits:
        """The true top k: cells are visited in the order of their bounds until no other can matter. Needs k <= L.

        Queries whose bounds leave most labels in question, or that tie at the k-th place, are scored with all labels.
        """
        parts = [self._exact(queries_QD[rows], k, nprobe) for rows in self._slices(queries_QD, k)]
        counts_Q = np.concatenate([np.diff(part.offsets) for part in parts])
        label_rows, scores = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("label_rows", "scores")
        )
        return Hits(np.concatenate(([0], np.cumsum(counts_Q))), label_rows, scores)

    def _exact(self, queries_QD: Array, k: int, nprobe: int) -> Hits:
        state = _State(self, queries_QD, k)
        state.visit(np.arange(len(queries_QD)), self._nearest(queries_QD, nprobe))
        scanned_Q = np.zeros(len(queries_QD), dtype=bool)
        width = max(nprobe, 1)
        while True:
            wanted_QC = ~state.visited_QC & (state.outside_QC >= state.scores_QK[:, -1:])
            costly_Q = wanted_QC @ state.sizes_C > MOST_SHARE * self.faiss_index.ntotal
            scanned_Q |= costly_Q | ~(state.inside_Q < state.scores_QK[:, -1])
            open_S = np.flatnonzero(wanted_QC.any(1) & ~scanned_Q)
            if not open_S.size:
                break
            masked_SC = np.where(wanted_QC[open_S], state.outside_QC[open_S], -np.inf)
            state.visit(open_S, _largest(masked_SC, width))
            width *= 2
        return state.hits(scanned_Q)

    def _slices(self, queries_QD: Array, k: int) -> list[Array]:
        """Rows of the queries, so many together that memory does not grow with their number."""
        each = max(self.faiss_index.nlist, k * self.deepen + EXTRA)
        return np.array_split(np.arange(len(queries_QD)), max(1, -(-len(queries_QD) * each // NUMBERS)))

    def score_errors(self, queries_QD: Array) -> Array:
        """How much higher the true score of a label can be than what faiss says in float32, float64 (Q,).

        Of codes: what they lost times |q|, and the rounding of a table or a decoded vector and of the product with the
        centre, whose norm need not be that of the labels; also where the codes themselves lost nothing.
        """
        return self._score_error.of(norms(queries_QD))

    @cached_property
    def _score_error(self) -> ScoreError:
        index, largest, lost = self.faiss_index, self.bounds.largest_norm, self.bounds.largest_error
        if index.code_size == 4 * index.d:
            return ScoreError.rounding(index.d, largest)
        centre = float(norms(self.centroids_CD).max())
        rounding = ScoreError.rounding(index.d, 12 * (2 * largest + lost + centre))
        return ScoreError(2 * rounding.of_zero, lost + 2 * rounding.per_norm)

    def _nearest(self, queries_QD: Array, nprobe: int) -> Array:
        return _largest(queries_QD @ self.centroids_CD.T, nprobe)


class _State:
    """What is known of each query so far: the best k labels seen, and the limits of those that were not seen."""

    def __init__(self, prover: Prover, queries_QD: Array, k: int) -> None:
        self.prover, self.queries_QD, self.k = prover, queries_QD, k
        queries, cells = len(queries_QD), prover.faiss_index.nlist
        self.scores_QK = np.full((queries, k), -np.inf, np.float32)
        self.rows_QK = np.full((queries, k), -1, np.int64)
        self.visited_QC = np.zeros((queries, cells), dtype=bool)
        self.outside_QC = prover.bounds.best_scores(queries_QD).astype(np.float32)
        self.inside_Q = np.full(queries, -np.inf, np.float32)
        self.errors_Q = prover.score_errors(queries_QD)
        sizes = prover.faiss_index.invlists
        self.sizes_C = np.array([sizes.list_size(cell) for cell in range(cells)])

    def visit(self, query_rows: Array, cells_SV: Array) -> None:
        """Let faiss search these cells (-1 for none) for these queries, and take what it finds into the lists."""
        if not len(query_rows):
            return
        picked_SV = cells_SV >= 0
        self.visited_QC[np.repeat(query_rows, picked_SV.sum(1)), cells_SV[picked_SV]] = True
        wanted = min(self.k * self.prover.deepen + EXTRA, self.prover.faiss_index.ntotal)
        said_SM, rows_SM = self._ask(query_rows, cells_SV, wanted)
        errors_S = self.errors_Q[query_rows]
        last_S = np.where(rows_SM[:, -1] >= 0, said_SM[:, -1] + errors_S, -np.inf)
        last_S[~np.isfinite(errors_S)] = np.inf  # of codes that overflowed faiss leaves some out, also of short lists
        self.inside_Q[query_rows] = np.maximum(self.inside_Q[query_rows], last_S.astype(np.float32))
        places, columns = np.nonzero(rows_SM >= 0)
        pairs = torch.from_numpy(query_rows[places]), torch.from_numpy(rows_SM[places, columns])
        true_SM = np.full(said_SM.shape, -np.inf, np.float32)
        true_SM[places, columns] = rescore(torch.from_numpy(self.queries_QD), self.prover.vectors, *pairs).numpy()
        scores = np.concatenate((self.scores_QK[query_rows], true_SM), axis=1)
        rows = np.concatenate((self.rows_QK[query_rows], rows_SM), axis=1)
        order = np.lexsort((rows, -scores), axis=1)[:, : self.k]
        self.scores_QK[query_rows] = np.take_along_axis(scores, order, 1)
        self.rows_QK[query_rows] = np.take_along_axis(rows, order, 1)

    def hits(self, scanned_Q: Array | None = None) -> Hits:
        """The lists; those of queries that are to be scanned come from a scan of all labels."""
        own_QK = self.rows_QK >= 0
        parts = [(np.nonzero(own_QK)[0], self.rows_QK[own_QK], self.scores_QK[own_QK])]
        if scanned_Q is not None and scanned_Q.any():
            own_QK[scanned_Q] = False
            chosen_S = np.flatnonzero(scanned_Q)
            everything = np.arange(self.prover.faiss_index.ntotal)
            found = scan_rows(self.queries_QD[chosen_S], self.prover.vectors, everything, self.k)
            parts = [
                (np.nonzero(own_QK)[0], self.rows_QK[own_QK], self.scores_QK[own_QK]),
                (np.repeat(chosen_S, np.diff(found.offsets)), found.label_rows, found.scores),
            ]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return rank_hits(*columns, queries=len(self.queries_QD), k=self.k)

    def _ask(self, query_rows: Array, cells_SV: Array, wanted: int) -> tuple[Array, Array]:
        faiss, index = import_faiss(), self.prover.faiss_index
        queries_SD = np.ascontiguousarray(self.queries_QD[query_rows])
        cells_SV = np.ascontiguousarray(cells_SV, dtype=np.int64)
        coarse_SC = queries_SD @ self.prover.centroids_CD.T
        coarse_SV = np.ascontiguousarray(np.take_along_axis(coarse_SC, np.maximum(cells_SV, 0), 1), dtype=np.float32)
        scores_SM = np.empty((len(queries_SD), wanted), np.float32)
        rows_SM = np.empty((len(queries_SD), wanted), np.int64)
        arrays = (faiss.swig_ptr(one) for one in (cells_SV, coarse_SV, scores_SM, rows_SM))
        parameters = faiss.SearchParametersIVF(nprobe=cells_SV.shape[1])
        index.search_preassigned_c(
            len(queries_SD), faiss.swig_ptr(queries_SD), wanted, *arrays, False, parameters, None
        )
        return scores_SM, rows_SM


def _largest(values_SC: Array, count: int) -> Array:
    """The columns of the largest values of each row, -1 where the value is -inf, (S, count)."""
    count = min(count, values_SC.shape[1])
    columns = np.argpartition(-values_SC, count - 1, axis=1)[:, :count]
    return np.where(np.take_along_axis(values_SC, columns, 1) > -np.inf, columns, -1)
