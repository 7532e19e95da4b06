"""Are scores of different queries comparable? One AUC over the pooled scores of all queries.

Ranking metrics look at one query at a time: adding a number to all scores of a query changes none of them. Pooled over
the queries it ruins this AUC, and with it any single cut-off that could say "nothing matches".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xmc.counted import counted
from xmc.errors import DataError
from xmc.evaluate.relevance import judge_hits
from xmc.ragged import kept_offsets
from xmc.values import Hits, Positives


@dataclass(frozen=True)
class PooledAuc:
    """The AUC of all positives against, per query, its `top_negatives` highest-scoring labels that are not relevant.

    It depends on `top_negatives` (more of them are easier), so the two belong together. `value` is None when one side
    is empty. `queries_with_fewer_negatives` counts those that had fewer, as there were no more labels or the index gave
    no more.
    """

    value: float | None
    top_negatives: int
    queries: int
    positives: int
    negatives: int
    queries_with_fewer_negatives: int


@dataclass(frozen=True)
class PooledScores:
    """The scores of all positives and of the chosen negatives; which query they came from is forgotten on purpose."""

    positive_scores_P: NDArray[Any]
    negative_scores_N: NDArray[Any]
    auc: PooledAuc


def pooled_auc(
    hits: Hits, positives: Positives, positive_scores_P: NDArray[Any], *, labels: int, top_negatives: int
) -> PooledScores:
    """Pool the scores of the queries that have a positive, and their AUC.

    `hits` must be deep enough: `top_negatives` plus the number of positives of the query that could be among them.
    `positive_scores_P` are the scores of all positives, also of those that are not among the hits.

    Raises: DataError when there is not one score for each positive, or as `judge_hits`.
    Reference: Sheikholeslami et al., arXiv 2510.00137, 2025, with 500 negatives.

    >>> hits = Hits(np.array([0, 2, 4]), np.array([0, 1, 2, 1]), np.array([0.9, 0.5, 0.8, 0.4]))
    >>> positives = Positives(np.array([0, 1, 2]), np.array([0, 1]), np.ones(2))
    >>> pooled = pooled_auc(hits, positives, np.array([0.9, 0.4]), labels=3, top_negatives=1)
    >>> pooled.negative_scores_N.tolist(), pooled.auc.value  # 0.9 is above both, 0.4 above none
    ([0.5, 0.8], 0.5)
    """
    if positive_scores_P.shape != positives.label_rows.shape:
        raise DataError(
            f"there must be one score for each of the {counted(len(positives.label_rows), 'positive')}, "
            f"got shape {positive_scores_P.shape}."
        )
    asked_Q = positives.counts() > 0
    negative_H = (judge_hits(hits, positives, labels=labels).relevance_H == 0) & np.repeat(
        asked_Q, np.diff(hits.offsets)
    )
    before_H = np.concatenate(([0], np.cumsum(negative_H)))
    number_H = before_H[1:] - np.repeat(before_H[hits.offsets[:-1]], np.diff(hits.offsets))  # 1 for the first negative
    chosen_H = negative_H & (number_H <= top_negatives)
    chosen_Q = np.diff(kept_offsets(hits.offsets, chosen_H))
    negative_scores_N = hits.scores[chosen_H]
    auc = PooledAuc(
        value=roc_auc(positive_scores_P, negative_scores_N),
        top_negatives=top_negatives,
        queries=int(asked_Q.sum()),
        positives=len(positive_scores_P),
        negatives=len(negative_scores_N),
        queries_with_fewer_negatives=int((chosen_Q[asked_Q] < top_negatives).sum()),
    )
    return PooledScores(positive_scores_P, negative_scores_N, auc)


def roc_auc(positive_scores_P: NDArray[Any], negative_scores_N: NDArray[Any]) -> float | None:
    """The share of pairs (positive, negative) in the right order, a tie counting one half; None when a side is empty.

    Naive: `((p[:, None] > n).mean() + (p[:, None] >= n).mean()) / 2`; here in the time of sorting the negatives. The
    same as the rank formula with mid-ranks.

    >>> roc_auc(np.array([0.8, 0.5]), np.array([0.5, 0.1]))
    0.875
    """
    if len(positive_scores_P) == 0 or len(negative_scores_N) == 0:
        return None
    ascending_N = np.sort(negative_scores_N)
    below_P, up_to_P = (np.searchsorted(ascending_N, positive_scores_P, side=side) for side in ("left", "right"))
    return float((below_P.mean() + up_to_P.mean()) / (2 * len(ascending_N)))
