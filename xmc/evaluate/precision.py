"""Precision at k."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.evaluate.relevance import check_cutoff


def precision_at_k(relevant_QK: NDArray[Any], positive_counts_Q: NDArray[Any], k: int) -> NDArray[np.float64]:
    """P@k: relevant hits among the first k, divided by k.

    The divisor is k also for a query with fewer than k hits or fewer than k positives, so 1.0 may be out of reach.
    `positive_counts_Q` is not used; all metrics take the same three arguments.

    Shapes: `relevant_QK` (Q, K) bool; answers (Q,).

    Raises: ConfigError when k < 1.

    >>> precision_at_k(np.array([[True, False, True]]), np.array([2]), 2).tolist()
    [0.5]
    """
    check_cutoff(k)
    return np.count_nonzero(relevant_QK[:, :k], axis=1) / k
