"""Recall at k."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.evaluate.relevance import check_cutoff


def recall_at_k(relevant_QK: NDArray[Any], positive_counts_Q: NDArray[Any], k: int) -> NDArray[np.float64]:
    """R@k: relevant hits among the first k, divided by the number of positives.

    The divisor is not cut at k, so a query with more than k positives cannot reach 1.0. A query without positives
    has 0 here; `evaluate_hits` leaves such queries out.

    Shapes: `relevant_QK` (Q, K) bool; `positive_counts_Q` (Q,); answers (Q,).

    Raises: ConfigError when k < 1.

    >>> recall_at_k(np.array([[True, False, True]]), np.array([4]), 3).tolist()
    [0.5]
    """
    check_cutoff(k)
    return np.count_nonzero(relevant_QK[:, :k], axis=1) / np.maximum(positive_counts_Q, 1)
