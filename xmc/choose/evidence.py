"""What a log says about one candidate: the ratios of its chances to the log's, and the model's expectations."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xmc.choose.estimators import Array, Evidence
from xmc.choose.log import ClickLog
from xmc.choose.policy import Policy, chances_down, rank_chances
from xmc.choose.reward_model import Predictions

ROWS_AT_ONCE = 2048
DRAWS = 32  # lists drawn a row, for what the candidate would put below its own labels


@dataclass(frozen=True)
class _Columns:
    """The arrays (Q, K) of an `Evidence`, while they are filled."""

    ratios_QK: Array
    predicted_QK: Array
    expected_QK: Array
    direct_QK: Array
    rank_ratios_QK: Array


def gather(
    log: ClickLog, policy: Policy, predictions: Predictions, *, most_weight: float, draws: int = DRAWS, seed: int = 0
) -> Evidence:
    """The evidence of a log about the policy of a candidate.

    Below the first rank of a policy that draws, what it would put under its own labels is the mean over `draws` lists;
    the same seed gives every candidate the same ones.
    """
    columns = _Columns(np.ones(log.shown_QK.shape), *(np.zeros(log.shown_QK.shape) for _ in range(4)))
    for number, start in enumerate(range(0, len(log), ROWS_AT_ONCE)):
        rows = slice(start, start + ROWS_AT_ONCE)
        generator = np.random.default_rng((seed, number))
        _fill(columns, log, policy.take(rows), predictions.at(rows), rows, draws=draws, generator=generator)
    is_shown_QK = log.is_shown_QK
    by_rank = None
    if log.rank_propensities_QK is not None:
        by_rank = np.where(is_shown_QK, columns.rank_ratios_QK / log.rank_propensities_QK, 1.0)
    return Evidence(
        rewards_QK=log.rewards_QK,
        ratios_QK=np.where(is_shown_QK, columns.ratios_QK / log.propensities_QK, 1.0),
        predicted_QK=np.where(is_shown_QK, columns.predicted_QK, 0.0),
        expected_QK=np.where(is_shown_QK, columns.expected_QK, 0.0),
        direct_QK=np.where(is_shown_QK, columns.direct_QK, 0.0),
        rank_ratios_QK=by_rank,
        most_weight=most_weight,
    )


def _fill(
    columns: _Columns,
    log: ClickLog,
    policy: Policy,
    rewards_QKM: Array,
    rows: slice,
    *,
    draws: int,
    generator: np.random.Generator,
) -> None:
    """Fill in some rows; the candidate's own chances first, those of the log come off at the end."""
    shown_QK = log.shown_QK[rows]
    every_Q = np.arange(len(shown_QK))
    for rank, chances_QM in enumerate(chances_down(policy, shown_QK)):
        columns.ratios_QK[rows, rank] = chances_QM[every_Q, shown_QK[:, rank]]
        columns.predicted_QK[rows, rank] = rewards_QKM[every_Q, rank, shown_QK[:, rank]]
        columns.expected_QK[rows, rank] = (chances_QM * rewards_QKM[:, rank]).sum(axis=1)
    chances_QKM = rank_chances(policy, log.ranks, draws=draws, generator=generator)
    columns.direct_QK[rows] = (chances_QKM * rewards_QKM).sum(axis=2)
    columns.rank_ratios_QK[rows] = np.take_along_axis(chances_QKM, shown_QK[:, :, None], axis=2)[:, :, 0]
