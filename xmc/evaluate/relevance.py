"""Which hits are relevant: hits and positives joined pair by pair, without a Q x L matrix.

Shapes: Q queries, L labels, H hits in all, P (query, positive) pairs, K ranks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.counted import counted
from xmc.errors import ConfigError, DataError
from xmc.ragged import rows_of
from xmc.values import Hits, Positives


@dataclass(frozen=True)
class JudgedHits:
    """Hits with the relevance of each: the weight of the positive it found, 0 for a hit that is no positive.

    The order of the hits is what is judged; scores are never read, so negative and equal scores need no care.
    Shapes: `relevance_H` (H,) float32.
    """

    hits: Hits
    positives: Positives
    relevance_H: NDArray[Any]


def judge_hits(hits: Hits, positives: Positives, *, labels: int) -> JudgedHits:
    """Look every hit up among the positives of its query.

    Naive line: `relevance_H[h] = weight of hits.label_rows[h] among the positives of its query, else 0`. Time is that
    of sorting the P pairs plus one binary search per hit; memory is O(H + P).

    Raises: DataError when the two differ in queries, a label row is not in 0..L-1, a query has a label twice (which
    would count one positive twice) or a weight is not above 0.

    >>> hits = Hits(np.array([0, 2, 3]), np.array([4, 1, 0]), np.array([-0.1, -0.2, 0.5]))
    >>> positives = Positives(np.array([0, 1, 2]), np.array([1, 3]), np.ones(2, dtype=np.float32))
    >>> judge_hits(hits, positives, labels=5).relevance_H.tolist()
    [0.0, 1.0, 0.0]
    """
    _check_lengths_and_weights(hits, positives)
    hit_keys_H = _pair_keys("hits", hits.offsets, hits.label_rows, labels)
    pair_keys_P = _pair_keys("positives", positives.offsets, positives.label_rows, labels)
    _refuse_twice("hits", np.sort(hit_keys_H), labels)
    order_P = np.argsort(pair_keys_P)
    sorted_keys_P = pair_keys_P[order_P]
    _refuse_twice("positives", sorted_keys_P, labels)
    relevance_H = np.zeros(len(hit_keys_H), dtype=np.float32)
    if len(sorted_keys_P):
        place_H = np.minimum(np.searchsorted(sorted_keys_P, hit_keys_H), len(sorted_keys_P) - 1)
        found_H = sorted_keys_P[place_H] == hit_keys_H
        relevance_H[found_H] = positives.weights[order_P[place_H[found_H]]]
    return JudgedHits(hits, positives, relevance_H)


def relevant_at_ranks(hits: Hits, positives: Positives, k: int, *, labels: int) -> NDArray[np.bool_]:
    """`relevant_QK`: whether the hit at each rank is a positive of the query; False where a query has fewer hits.

    Shapes: (Q, K) bool with K = k, or the length of the longest list of hits when that is shorter.

    Raises: ConfigError when k < 1; DataError as `judge_hits`.
    """
    check_cutoff(k)
    return at_ranks(judge_hits(hits, positives, labels=labels).relevance_H > 0, hits.offsets, k)


def at_ranks(values_H: NDArray[Any], offsets: NDArray[Any], k: int) -> NDArray[Any]:
    """Ragged values as (Q, K), column r the value at rank r + 1, 0 where there is none; K = min(k, longest list).

    >>> at_ranks(np.array([5, 6, 7]), np.array([0, 2, 2, 3]), 9).tolist()
    [[5, 6], [0, 0], [7, 0]]
    """
    counts_Q = np.diff(offsets)
    width = min(k, int(counts_Q.max(initial=0)))
    values_QK = np.zeros((len(counts_Q), width), dtype=values_H.dtype)
    filled_QK = np.arange(width) < counts_Q[:, None]
    ranks_H = np.arange(len(values_H)) - np.repeat(offsets[:-1], counts_Q)
    values_QK[filled_QK] = values_H[ranks_H < width]
    return values_QK


def ideal_at_ranks(gains_P: NDArray[Any], offsets: NDArray[Any], k: int) -> NDArray[Any]:
    """The best ranking there can be: the gains of each query's positives, largest first, as `at_ranks` lays them out.

    >>> ideal_at_ranks(np.array([1.0, 3.0, 2.0]), np.array([0, 2, 3]), 5).tolist()
    [[3.0, 1.0], [2.0, 0.0]]
    """
    query_rows_P = rows_of(offsets)
    return at_ranks(gains_P[np.lexsort((-gains_P, query_rows_P))], offsets, k)


def check_cutoff(k: int) -> None:
    """Refuse a cut-off below rank 1.

    Raises: ConfigError when k < 1.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k:,}.")


def _check_lengths_and_weights(hits: Hits, positives: Positives) -> None:
    queries = len(hits.offsets) - 1  # len(hits) fails on empty offsets, which _pair_keys refuses
    if queries != len(positives.offsets) - 1:
        raise DataError(
            f"there are hits of {counted(queries, 'query')} but positives of {len(positives):,}; one row for each."
        )
    if len(positives.weights) != len(positives.label_rows) or len(hits.scores) != len(hits.label_rows):
        raise DataError("every positive must have one weight and every hit one score.")
    weights_P = positives.weights
    if not ((weights_P > 0) & np.isfinite(weights_P)).all():
        raise DataError("positives: weights must be finite and above 0.", hint="Leave out what is not relevant.")


def _pair_keys(what: str, offsets: NDArray[Any], label_rows: NDArray[Any], labels: int) -> NDArray[np.int64]:
    """One int64 per (query, label) pair, `query_row * L + label_row`, increasing with the query."""
    counts_Q = np.diff(offsets)
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(label_rows) or (counts_Q < 0).any():
        raise DataError(f"{what}: offsets must rise from 0 to the {counted(len(label_rows), 'label row')}.")
    query_rows = np.repeat(np.arange(len(counts_Q), dtype=np.int64), counts_Q)
    outside = np.flatnonzero((label_rows < 0) | (label_rows >= labels))
    if len(outside):
        first = outside[0]
        raise DataError(
            f"{what}: query row {query_rows[first]} has label row {label_rows[first]}; allowed are 0 to {labels - 1}.",
            hint="Hits, positives and training counts must come from the same label table.",
        )
    return query_rows * labels + label_rows


def _refuse_twice(what: str, sorted_keys: NDArray[np.int64], labels: int) -> None:
    twice = np.flatnonzero(sorted_keys[1:] == sorted_keys[:-1])
    if len(twice):
        query_row, label_row = divmod(int(sorted_keys[twice[0]]), labels)
        raise DataError(f"{what}: query row {query_row} has label row {label_row} twice; each label counts once.")
