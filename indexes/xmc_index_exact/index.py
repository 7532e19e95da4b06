"""The built exact index: a label matrix in memory, immutable, searched from any number of threads."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xmc.api import (
    Hits,
    IndexReport,
    best_of_all,
    dot_pairs,
    normalise_rows,
    rank_hits,
    rounded_pairs,
    validate_k,
    validate_label_rows,
    validate_vectors,
)
from xmc_index_exact.first_pass import FirstPass
from xmc_index_exact.int8_pass import Int8Pass
from xmc_index_exact.parts import search_in_parts
from xmc_index_exact.scan import Candidates, TooManyCandidates, best_first, joined, parted, tightened

Dot = Callable[[Tensor, Tensor], Tensor]

LABELS_FILE = "labels.safetensors"
FACTS_FILE = "index.json"
SMALL_BATCH = 4  # up to here the float32 pass of a CPU is bound by memory and its kernel is the faster one
FEW_NUMBERS = 1 << 16  # of candidates: so few are summed exactly in the time that it takes to thin them out
SORTED_ON_GPU = 4096  # candidates: an estimate, from the time that the CPU's sort took beside a GPU
_RESCORE_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}  # on a CPU what stays in the cache between the passes of a sum


@dataclass(frozen=True, eq=False)
class ExactIndex:
    """True labels (normalised already when the similarity is cosine) and the passes that find candidates.

    `wide` is the float32 pass; `narrow`, if any, the one over fewer bytes, where that is faster.
    """

    wide: FirstPass
    narrow: FirstPass | Int8Pass | None
    score_bytes: int
    report: IndexReport

    def search(self, queries_QD: Tensor, k: int) -> Hits:
        """The true best k labels of each query; all labels when k is larger than their number.

        Naive: `scores = (queries.double() @ labels.double().T).float()`, then sort by (-score, label row).
        The bits of an answer depend on its query alone: not on the batch, the threads, the pass or the device.
        Raises: ConfigError for k < 1; DataError for another width; NonFiniteError naming query rows.
        """
        k = validate_k(k)
        return self._searched(queries_QD, min(k, self.report.labels), None)

    def search_among(self, queries_QD: Tensor, k: int, label_rows: np.ndarray[Any, Any]) -> Hits:
        """The true best k of these label rows (ascending, each once); the same bits that `search` gives them.

        The cost is that of an index of these labels alone, and of bringing their vectors together in slices.
        Raises: as `search`; DataError for rows that are not there, or not in ascending order.
        """
        k = validate_k(k)
        rows = validate_label_rows(label_rows, labels=self.report.labels)
        return self._searched(queries_QD, min(k, len(rows)), torch.from_numpy(rows).to(self.wide.labels_LD.device))

    def save(self, folder: Path) -> None:
        """Write labels (safetensors) and facts (JSON) into an empty folder that the caller commits."""
        from safetensors.torch import save_file

        save_file({"labels_LD": self.wide.labels_LD.cpu()}, folder / LABELS_FILE)
        facts = {"similarity": self.report.similarity, "build_s": self.report.build_s}
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def _searched(self, queries_QD: Tensor, k: int, allowed: Tensor | None) -> Hits:
        queries_QD = validate_vectors(queries_QD, what="query", dimension=self.report.dimension)
        has_zero = bool((~queries_QD.any(dim=1)).any())
        queries_QD = queries_QD.to(self.wide.labels_LD.device)
        if self.report.similarity == "cosine":
            queries_QD = normalise_rows(queries_QD)
        if k == 0 or len(queries_QD) == 0:
            return Hits(np.zeros(len(queries_QD) + 1, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        return search_in_parts(partial(self._best, k=k, allowed=allowed, has_zero=has_zero), queries_QD)

    def _best(self, queries_QD: Tensor, *, k: int, allowed: Tensor | None, has_zero: bool) -> Hits:
        """The hits of checked queries; of every label, where most of them would be candidates."""
        find = self._with_zero_queries if has_zero else self._found
        try:
            found = find(queries_QD, k, allowed)
        except TooManyCandidates:
            labels_LD = self.wide.labels_LD
            rows_L = torch.arange(len(labels_LD), device=labels_LD.device) if allowed is None else allowed
            found = Candidates(*best_of_all(queries_QD, labels_LD.__getitem__, rows_L, k))
        if len(found.scores_P) >= SORTED_ON_GPU and found.scores_P.is_cuda:
            found = best_first(found, k, queries=len(queries_QD))
            label_rows, scores = found.label_rows_P.cpu().numpy(), found.scores_P.cpu().numpy()
            return Hits(np.arange(0, len(scores) + 1, k), label_rows, scores)
        query_rows, label_rows, scores = (column.cpu().numpy() for column in found)
        return rank_hits(query_rows, label_rows, scores, queries=len(queries_QD), k=k)

    def _with_zero_queries(self, queries_QD: Tensor, k: int, allowed: Tensor | None) -> Candidates:
        """The same as `_found`; a zero query ties everywhere, so it takes the first k rows."""
        is_zero_Q = (queries_QD == 0).all(dim=1)
        first_rows = torch.arange(k, device=queries_QD.device) if allowed is None else allowed[:k]
        parts = [_with_score_zero(is_zero_Q.nonzero().flatten(), first_rows)]
        rows_Q = (~is_zero_Q).nonzero().flatten()
        if len(rows_Q) > 0:
            found = self._found(queries_QD[rows_Q], k, allowed)
            parts.append(found._replace(query_rows_P=rows_Q[found.query_rows_P]))
        return joined(parts)

    def _found(self, queries_QD: Tensor, k: int, allowed: Tensor | None) -> Candidates:
        """A superset of the top k with true scores."""
        first, found = self._first(len(queries_QD), k, allowed), None
        if first is not self.wide:
            with suppress(TooManyCandidates):
                found = first.candidates(queries_QD, k, score_bytes=self.score_bytes, allowed=allowed)
        if found is None:
            first = self.wide
            found = first.candidates(queries_QD, k, score_bytes=self.score_bytes, allowed=allowed)
        is_few = len(found.scores_P) * self.report.dimension <= FEW_NUMBERS
        if queries_QD.is_cuda or is_few:
            return self._rescored(queries_QD, found, dot_pairs)
        longest = float(torch.linalg.vector_norm(queries_QD, dim=1, dtype=torch.float64).max())
        true_scores = partial(rounded_pairs, most=longest * self.wide.largest_norm)
        if isinstance(first, Int8Pass):
            return self._rescored_by_bounds(queries_QD, found, k, true_scores)
        if first is not self.wide:  # by scores in float32, which are quicker
            found = self._rescored(queries_QD, found, torch.linalg.vecdot)
            found = tightened(found, k, margins_Q=self.wide.prepared(queries_QD)[1])
        return self._rescored(queries_QD, found, true_scores)

    def _rescored_by_bounds(self, queries_QD: Tensor, found: Candidates, k: int, dot: Dot) -> Candidates:
        """`_rescored`, where scores bound the rounded true ones: what does not reach the kth best of k is left out."""
        first, rest = parted(found, k, queries=len(queries_QD))
        first = self._rescored(queries_QD, first, dot)
        least_Q = first.scores_P.view(-1, k).amin(1)
        rest = Candidates(*(column[rest.scores_P >= least_Q[rest.query_rows_P]] for column in rest))
        return joined([first, self._rescored(queries_QD, rest, dot)])

    def _first(self, queries: int, k: int, allowed: Tensor | None) -> FirstPass | Int8Pass:
        if isinstance(self.narrow, Int8Pass):
            labels = self.report.labels if allowed is None else len(allowed)
            return self.narrow if self.narrow.pays_off(queries, k, labels) else self.wide
        if self.narrow is None or (queries <= SMALL_BATCH and self.narrow.labels_LD.device.type == "cpu"):
            return self.wide
        return self.narrow

    def _rescored(self, queries_QD: Tensor, found: Candidates, dot: Dot) -> Candidates:
        """The candidates with scores by `dot`, in slices that bound the memory."""
        step = max(1, _RESCORE_BYTES[queries_QD.device.type] // (8 * self.report.dimension))
        slices = zip(found.query_rows_P.split(step), found.label_rows_P.split(step), strict=True)
        labels_LD = self.wide.labels_LD
        return found._replace(
            scores_P=torch.cat(
                [dot(queries_QD.index_select(0, rows), labels_LD.index_select(0, columns)) for rows, columns in slices]
            )
        )


def _with_score_zero(query_rows: Tensor, label_rows_K: Tensor) -> Candidates:
    label_rows = label_rows_K.repeat(len(query_rows))
    scores = torch.zeros(len(label_rows), dtype=torch.float64, device=query_rows.device)
    return Candidates(query_rows.repeat_interleave(len(label_rows_K)), label_rows, scores)
