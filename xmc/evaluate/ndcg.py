"""Normalised discounted cumulative gain at k, binary and graded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.evaluate.relevance import check_cutoff


def ndcg_at_k(relevant_QK: NDArray[Any], positive_counts_Q: NDArray[Any], k: int) -> NDArray[np.float64]:
    """nDCG@k with gain 1 for a relevant hit.

    `sum over relevant ranks r <= k of 1 / log2(r + 1)`, divided by the same sum over ranks 1 to min(k, positives). A
    query without positives has 0 here; `evaluate_hits` leaves such queries out.

    Shapes: `relevant_QK` (Q, K) bool; `positive_counts_Q` (Q,); answers (Q,).

    Raises: ConfigError when k < 1.

    Reference: Järvelin and Kekäläinen 2002, with the discount of trec_eval (log2(rank + 1)).

    >>> ndcg_at_k(np.array([[False, True]]), np.array([1]), 2).round(4).tolist()
    [0.6309]
    """
    ideal_Q = ideal_discount(positive_counts_Q, k)
    return discounted_gain(relevant_QK, k) / np.where(ideal_Q > 0, ideal_Q, 1.0)


def graded_ndcg_at_k(gains_QK: NDArray[Any], ideal_gains_QK: NDArray[Any], k: int) -> NDArray[np.float64]:
    """nDCG@k with linear gain: the weight of the positive that was found.

    `sum over ranks r <= k of gain_r / log2(r + 1)`, divided by the same sum over the ideal ranking. Equal to
    `ndcg_at_k` when all weights are the same. A query without positives has 0.

    Shapes: `gains_QK`, `ideal_gains_QK` (Q, K), the second from `relevance.ideal_at_ranks`; answers (Q,).

    Raises: ConfigError when k < 1.

    >>> graded_ndcg_at_k(np.array([[1.0, 3.0]]), np.array([[3.0, 1.0]]), 1).round(4).tolist()
    [0.3333]
    """
    ideal_Q = discounted_gain(ideal_gains_QK, k)
    return discounted_gain(gains_QK, k) / np.where(ideal_Q > 0, ideal_Q, 1.0)


def discounted_gain(gains_QK: NDArray[Any], k: int) -> NDArray[np.float64]:
    """DCG@k: `(gains_QK[:, :k] / log2(rank + 1)).sum(axis=1)`, (Q,), touching only the ranks with a gain.

    Raises: ConfigError when k < 1.
    """
    check_cutoff(k)
    query_rows, columns = np.nonzero(gains_QK[:, :k])
    gains = gains_QK[query_rows, columns] / np.log2(columns + 2.0)
    return np.asarray(np.bincount(query_rows, weights=gains, minlength=len(gains_QK)), dtype=np.float64)


def ideal_discount(positive_counts_Q: NDArray[Any], k: int) -> NDArray[np.float64]:
    """The DCG@k of a query whose first min(k, positives) hits are all relevant, (Q,); 0 without positives.

    Raises: ConfigError when k < 1.
    """
    check_cutoff(k)
    counts_Q = np.minimum(positive_counts_Q, k)
    ranks = np.arange(1, int(counts_Q.max(initial=0)) + 1)
    return np.concatenate(([0.0], np.cumsum(1.0 / np.log2(ranks + 1.0))))[counts_Q]
