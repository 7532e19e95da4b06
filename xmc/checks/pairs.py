"""The retrieved (query, label) pairs that probabilities are made of and judged on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xmc.evaluate.relevance import judge_hits
from xmc.values import Hits, Positives

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Pairs:
    """H retrieved pairs of `queries` queries that have `positives` positives in all, found or not.

    Shapes: all arrays (H,); ranks count from 1; `relevant_H` is bool.
    """

    queries: int
    positives: int
    query_rows_H: Array
    label_rows_H: Array
    ranks_H: Array
    scores_H: Array
    relevant_H: Array

    def chosen(self, kept_H: Array) -> Pairs:
        """The marked pairs; the queries stay, also those that keep none."""
        columns = (self.query_rows_H, self.label_rows_H, self.ranks_H, self.scores_H, self.relevant_H)
        return Pairs(self.queries, self.positives, *(column[kept_H] for column in columns))

    def down_to(self, rank: int) -> Pairs:
        """The pairs of the first ranks."""
        return self.chosen(self.ranks_H <= rank)

    def __len__(self) -> int:
        return len(self.scores_H)


def retrieved_pairs(hits: Hits, positives: Positives, *, labels: int) -> Pairs:
    """Each hit with its rank and whether it is a positive of its query.

    >>> hits = Hits(np.array([0, 2]), np.array([4, 1]), np.array([0.9, 0.2]))
    >>> pairs = retrieved_pairs(hits, Positives(np.array([0, 2]), np.array([1, 3]), np.ones(2)), labels=5)
    >>> pairs.queries, pairs.positives, pairs.ranks_H.tolist(), pairs.relevant_H.tolist()
    (1, 2, [1, 2], [False, True])
    """
    query_rows_H = hits.query_rows()
    ranks_H = np.arange(len(hits.scores)) - hits.offsets[query_rows_H] + 1
    relevant_H = judge_hits(hits, positives, labels=labels).relevance_H > 0
    scores_H = hits.scores.astype(np.float64)
    return Pairs(len(hits), len(positives.label_rows), query_rows_H, hits.label_rows, ranks_H, scores_H, relevant_H)


def without_positives(pairs: Pairs, unanswerable_Q: Array, positive_counts_Q: Array) -> Pairs:
    """The marked queries as if nothing matched them: their positives leave their hits, and those below move up.

    >>> hits = Hits(np.array([0, 2]), np.array([4, 1]), np.array([0.9, 0.2]))
    >>> pairs = retrieved_pairs(hits, Positives(np.array([0, 1]), np.array([4]), np.ones(1)), labels=5)
    >>> left = without_positives(pairs, np.array([True]), np.array([1]))
    >>> left.ranks_H.tolist(), left.scores_H.tolist(), left.positives
    ([1], [0.2], 0)
    """
    left = pairs.chosen(~(pairs.relevant_H & unanswerable_Q[pairs.query_rows_H]))
    starts_Q = np.searchsorted(left.query_rows_H, np.arange(pairs.queries))
    ranks_H = np.arange(len(left)) - starts_Q[left.query_rows_H] + 1
    return replace(left, ranks_H=ranks_H, positives=int(positive_counts_Q[~unanswerable_Q].sum()))
