"""A simple model of the reward of a label at a rank, fitted to the log; each row is predicted by a model of others.

Logistic regression where every reward is 0 or 1, ridge regression otherwise, on how the candidates' runs score the
label among those of its row. Cross-fitting (Chernozhukov et al. 2018) keeps the doubly robust estimators honest: a
model that had seen a row's own reward would explain away what the weights should correct.

Shapes: Q rows, K ranks, M columns of candidates, F features, S runs.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xmc.choose.estimators import Array
from xmc.choose.log import ClickLog
from xmc.errors import DataError

FOLDS = 5


@dataclass(frozen=True)
class Predictions:
    """The expected reward of each candidate at each rank, as `link(pair + rank)` cut to the rewards that were seen."""

    pairs_QM: Array
    ranks_QK: Array
    is_logistic: bool
    least: float
    most: float

    def at(self, rows: slice) -> Array:
        """Of some rows, (rows, K, M)."""
        sums_QKM = self.pairs_QM[rows, None, :] + self.ranks_QK[rows, :, None]
        if self.is_logistic:
            from scipy.special import expit

            return np.asarray(expit(sums_QKM))
        return np.clip(sums_QKM, self.least, self.most)


def pair_features(scores_SQM: Sequence[Array]) -> Array:
    """Of each candidate for each run: how far below the row's best score, in units of its spread, and 1 / rank.

    >>> pair_features([np.array([[3.0, 1.0, -np.inf]])]).round(2).tolist()
    [[[0.0, 1.0], [-2.0, 0.5], [0.0, 0.0]]]
    """
    features = []
    for scores_QM in scores_SQM:
        is_candidate_QM = np.isfinite(scores_QM)
        gaps_QM = np.where(is_candidate_QM, scores_QM - scores_QM.max(axis=1, keepdims=True), 0.0)
        spread = gaps_QM[is_candidate_QM].std() or 1.0
        ranks_QM = np.argsort(np.argsort(-scores_QM, axis=1, kind="stable"), axis=1, kind="stable") + 1
        features += [gaps_QM / spread, np.where(is_candidate_QM, 1 / ranks_QM, 0.0)]
    return np.stack(features, axis=2)


def fold_of_rows(query_ids: Sequence[str]) -> Array:
    """A fold for each row, (Q,), the same for all rows of a query and for any order of the rows.

    Raises: DataError for fewer than two queries.
    """
    distinct = sorted(set(query_ids), key=lambda query_id: (zlib.crc32(query_id.encode()), query_id))
    if len(distinct) < 2:
        raise DataError("the log has one query; a reward model needs two at least, to predict each by the others.")
    fold_of = {query_id: place % FOLDS for place, query_id in enumerate(distinct)}
    return np.array([fold_of[query_id] for query_id in query_ids])


def predict_rewards(log: ClickLog, scores_SQM: Sequence[Array]) -> Predictions:
    """Fit the model on all folds but one, predict that one, for each. Raises: DataError for a log with one query."""
    features_QMF = pair_features(scores_SQM)
    rewards = log.rewards_QK[log.is_shown_QK]
    is_logistic = bool(np.isin(rewards, (0.0, 1.0)).all())
    rows, ranks = np.nonzero(log.is_shown_QK)
    at_rank = np.eye(log.ranks)[ranks]
    inputs = np.concatenate([features_QMF[rows, log.shown_QK[rows, ranks]], at_rank], axis=1)
    pairs_QM, ranks_QK = np.zeros(features_QMF.shape[:2]), np.zeros((len(log), log.ranks))
    fold_Q = fold_of_rows(log.query_ids)
    for fold in np.unique(fold_Q):
        fitted = fold_Q[rows] != fold
        weights_F, intercept = _fit(inputs[fitted], rewards[fitted], is_logistic=is_logistic)
        own_Q, features = fold_Q == fold, features_QMF.shape[2]
        pairs_QM[own_Q] = features_QMF[own_Q] @ weights_F[:features]
        ranks_QK[own_Q] = weights_F[features:] + intercept
    return Predictions(pairs_QM, ranks_QK, is_logistic, float(rewards.min()), float(rewards.max()))


def _fit(inputs_NF: Array, rewards_N: Array, *, is_logistic: bool) -> tuple[Array, float]:
    """Weights and intercept of the regression."""
    from sklearn.linear_model import LogisticRegression, Ridge

    if is_logistic and rewards_N.min() == rewards_N.max():  # nothing to tell apart: about that rate everywhere
        return np.zeros(inputs_NF.shape[1]), _logit(rewards_N)
    model: Any = LogisticRegression(solver="newton-cholesky", tol=1e-8) if is_logistic else Ridge()
    model.fit(inputs_NF, rewards_N)
    return np.ravel(model.coef_), float(np.ravel(model.intercept_)[0])


def _logit(rewards_N: Array) -> float:
    """The logit of a rate, with half a click and half a miss added."""
    rate = (rewards_N.sum() + 0.5) / (len(rewards_N) + 1)
    return float(np.log(rate / (1 - rate)))
