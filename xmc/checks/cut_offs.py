"""What each cut-off by probability would return: precision, recall and false-positive rate on held-out pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmc.checks.pairs import Pairs
from xmc.retrieve.calibration import CutOffs

MOST = 1000  # cut-offs kept; more would say nothing more


def cut_offs_of(pairs: Pairs, probabilities_H: np.ndarray[Any, Any], *, most: int = MOST) -> CutOffs:
    """The rates at every distinct probability, or at `most` of them evenly spread over the pairs.

    >>> pairs = Pairs(1, 2, *np.zeros((3, 3), int), np.zeros(3), np.array([True, False, True]))
    >>> cut_offs = cut_offs_of(pairs, np.array([0.9, 0.6, 0.6]))
    >>> cut_offs.precisions_T.round(2).tolist(), cut_offs.recalls_T.tolist(), cut_offs.false_positive_rates_T.tolist()
    ([1.0, 0.67], [0.5, 1.0], [0.0, 1.0])
    """
    order_H = np.argsort(-probabilities_H, kind="stable")
    sorted_H, relevant_H = probabilities_H[order_H], pairs.relevant_H[order_H]
    last_T = np.flatnonzero(np.append(sorted_H[1:] != sorted_H[:-1], True)) if len(sorted_H) else np.zeros(0, np.int64)
    if len(last_T) > most:
        last_T = last_T[np.linspace(0, len(last_T) - 1, most).astype(np.int64)]
    returned_T = last_T + 1
    right_T = np.cumsum(relevant_H)[last_T]
    wrong = max(1, int((~relevant_H).sum()))
    return CutOffs(
        sorted_H[last_T], right_T / returned_T, right_T / max(1, pairs.positives), (returned_T - right_T) / wrong
    )
