"""Row labels into noisy bag labels: the mechanism, which alone sees the labels of single queries.

Shapes: Q queries, L labels, A bags.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from xmc.data.tables import QueryTable
from xmc.privacy.discrete_laplace import Words, discrete_laplace, secure_words
from xmc.ragged import offsets_of
from xmc.values import Positives

COUNTS_AT_ONCE = 2**20
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Mechanism:
    """How labels become private: queries in bags of `bag_size`, at most `clip` labels each, noise on each count.

    To replace the labels of one query changes the counts of its bag by at most 2 · clip in all, so discrete Laplace
    noise of scale 2 · clip / epsilon on *every* count makes the counts epsilon-private: no output is more than
    exp(epsilon) times as likely under one label as under another. (On the mean of a bag that is the scale 2 · clip /
    (bag_size · epsilon).) The bags do not overlap, so this holds for all of them together. Counts of at most
    `threshold` are then left out.
    """

    epsilon: Fraction
    bag_size: int
    clip: int = 1
    threshold: int = 0

    @property
    def scale(self) -> Fraction:
        """The scale of the noise on a count."""
        return 2 * self.clip / self.epsilon

    @property
    def standard_deviation(self) -> float:
        """That of the noise on a count."""
        ratio = math.exp(-1 / self.scale)
        return math.sqrt(2 * ratio) / (1 - ratio)

    def release(self, queries: QueryTable, labels: int, *, words: Words = secure_words) -> QueryTable:
        """The same queries in bags drawn at random, the positives of each being the noisy label means of its bag."""
        bag_Q = _random_bags(len(queries), self.bag_size)
        clipped = _clipped(queries.positives, self.clip)
        counted = _noisy_counts(clipped, bag_Q, labels, self, words)
        sizes_A = np.bincount(bag_Q)
        weights = (counted.weights / np.repeat(sizes_A, counted.counts())).astype(np.float32)
        positives = Positives(counted.offsets, counted.label_rows, weights).take(bag_Q)
        return QueryTable(queries.ids, queries.texts, positives, [f"b{bag}" for bag in bag_Q])


def _random_bags(queries: int, size: int) -> Array:
    """The number of each query's bag, (Q,): drawn without a look at any label; the last bag may be smaller."""
    bag_Q = np.empty(queries, np.int64)
    bag_Q[np.random.default_rng().permutation(queries)] = np.arange(queries) // size
    return bag_Q


def _clipped(positives: Positives, clip: int) -> Positives:
    """At most `clip` positives of each query, drawn at random from its own."""
    query_P = positives.query_rows()
    order = np.lexsort((np.random.default_rng().random(len(query_P)), query_P))
    rank_P = np.arange(len(query_P)) - positives.offsets[query_P]
    kept = np.sort(order[rank_P < clip])
    offsets = offsets_of(np.minimum(positives.counts(), clip))
    return Positives(offsets, positives.label_rows[kept], np.ones(len(kept), np.float32))


def _noisy_counts(clipped: Positives, bag_Q: Array, labels: int, mechanism: Mechanism, words: Words) -> Positives:
    """The counts of each bag above the threshold, noise on all of them first, as weights."""
    bags, bag_P = int(bag_Q.max()) + 1, bag_Q[clipped.query_rows()]
    order = np.argsort(bag_P, kind="stable")
    bag_P, label_P = bag_P[order], clipped.label_rows[order]
    counts, rows, values = [], [], []
    at_once = max(1, COUNTS_AT_ONCE // labels)
    for start in range(0, bags, at_once):
        stop = min(start + at_once, bags)
        own = slice(*np.searchsorted(bag_P, [start, stop]))
        noisy = discrete_laplace(mechanism.scale, (stop - start) * labels, words=words)
        noisy += np.bincount((bag_P[own] - start) * labels + label_P[own], minlength=len(noisy))
        kept = np.flatnonzero(noisy > mechanism.threshold)
        counts.append(np.bincount(kept // labels, minlength=stop - start))
        rows.append((kept % labels).astype(np.int32))
        values.append(noisy[kept].astype(np.float32))
    offsets = offsets_of(np.concatenate(counts))
    return Positives(offsets, np.concatenate(rows), np.concatenate(values))
