"""Reciprocal rank at k, whose mean is MRR@k."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.evaluate.relevance import check_cutoff


def reciprocal_rank_at_k(relevant_QK: NDArray[Any], positive_counts_Q: NDArray[Any], k: int) -> NDArray[np.float64]:
    """RR@k: 1 / rank of the first relevant hit, 0 when none is among the first k. Ranks count from 1.

    `positive_counts_Q` is not used; all metrics take the same three arguments.

    Shapes: `relevant_QK` (Q, K) bool; answers (Q,).

    Raises: ConfigError when k < 1.

    >>> reciprocal_rank_at_k(np.array([[False, True, True], [False, False, False]]), np.array([2, 1]), 3).tolist()
    [0.5, 0.0]
    """
    check_cutoff(k)
    top_QK = relevant_QK[:, :k].astype(bool, copy=False)
    if top_QK.shape[1] == 0:
        return np.zeros(len(top_QK))
    first_Q = top_QK.argmax(axis=1)
    return np.where(top_QK.any(axis=1), 1.0 / (first_Q + 1), 0.0)
