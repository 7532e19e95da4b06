"""The loss of label sets on calibration queries, as a function of the cut-off.

Shapes: P retrieved positives, Q queries, S steps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmc.check_contract import CheckContext, CheckQueries
from xmc.evaluate.relevance import judge_hits
from xmc.retrieve.label_sets import RiskCurve, ScoredBy, nearness
from xmc.values import Hits

Array = np.ndarray[Any, Any]
CHUNK = 1024


@dataclass(frozen=True)
class FoundPositives:
    """What the search found of the positives: query and nearness of each, (P,), and all there are by query, (Q,)."""

    query_rows_P: Array
    nearness_P: Array
    positive_counts_Q: Array

    def take(self, query_rows: Array) -> FoundPositives:
        """The given queries, each at most once, in the given order."""
        place_Q = np.full(len(self.positive_counts_Q), -1)
        place_Q[query_rows] = np.arange(len(query_rows))
        kept_P = place_Q[self.query_rows_P] >= 0
        return FoundPositives(
            place_Q[self.query_rows_P[kept_P]], self.nearness_P[kept_P], self.positive_counts_Q[query_rows]
        )

    def best(self) -> FoundPositives:
        """The nearest positive of each query only, as if it had no other."""
        best_Q = np.full(len(self.positive_counts_Q), -np.inf)
        np.maximum.at(best_Q, self.query_rows_P, self.nearness_P)
        rows = np.flatnonzero(best_Q > -np.inf)
        return FoundPositives(rows, best_Q[rows], np.ones_like(self.positive_counts_Q))

    def missed_shares(self, cut_off: float) -> Array:
        """The share of each query's positives that a cut-off leaves out, those never retrieved included, (Q,)."""
        kept = np.bincount(self.query_rows_P[self.nearness_P >= cut_off], minlength=len(self.positive_counts_Q))
        return np.asarray(1 - kept / self.positive_counts_Q)


def risk_curve(found: FoundPositives) -> RiskCurve:
    """The mean share of positives missed, at every cut-off where it changes.

    Naive: `risk(t) = mean over queries of (positives with nearness < t, or not retrieved) / positives`.

    >>> found = FoundPositives(np.array([0, 1]), np.array([0.0, -0.5]), np.array([1, 2]))
    >>> curve = risk_curve(found)
    >>> curve.cut_offs_S.tolist(), curve.risks_S.tolist(), curve.missing
    ([-0.5, 0.0], [0.25, 0.5], 0.25)
    """
    queries = len(found.positive_counts_Q)
    weights_P = 1 / (found.positive_counts_Q[found.query_rows_P] * queries)
    missing = max(0.0, 1 - float(weights_P.sum()))
    cut_offs_S, place_P = np.unique(found.nearness_P, return_inverse=True)
    weights_S = np.bincount(place_P, weights_P, len(cut_offs_S))
    return RiskCurve(queries, missing, cut_offs_S, missing + np.cumsum(weights_S) - weights_S)


def find_positives(context: CheckContext, queries: CheckQueries, *, k: int, scored_by: ScoredBy) -> FoundPositives:
    """Search the queries k deep, a chunk at a time, and keep what concerns their positives."""
    rows, values = [], []
    for query_rows, hits, relevant_H in judged_chunks(context, queries, k=k):
        hit_queries_H = np.repeat(query_rows, np.diff(hits.offsets))
        rows.append(hit_queries_H[relevant_H])
        values.append(nearness(hits, scored_by)[relevant_H])
    return FoundPositives(np.concatenate(rows), np.concatenate(values), queries.positives.counts())


def judged_chunks(context: CheckContext, queries: CheckQueries, *, k: int) -> Iterator[tuple[Array, Hits, Array]]:
    """Rows of some queries, their hits, and which hits are relevant, (H,) bool; all the queries in turn."""
    for start in range(0, len(queries), CHUNK):
        query_rows = np.arange(start, min(start + CHUNK, len(queries)))
        part = queries.take(query_rows)
        hits = context.retriever.hits(part.texts, k=k)
        judged = judge_hits(hits, part.positives, labels=len(context.retriever.labels))
        yield query_rows, hits, judged.relevance_H > 0
        context.progress(int(query_rows[-1]) + 1, len(queries))
