"""Estimators of what a policy would have earned, from the log of another: pure functions of arrays.

Each answers its `Terms`, one pair of numbers a row of the log, and is `sum of numerators / sum of denominators`.

Shapes: Q rows of the log, K ranks. All arrays hold the neutral value (reward 0, ratio 1) at ranks a row does not have.
`ratios_QK` is, at each rank, the candidate's chance of the shown label given those above it, over that of the log.
The reward of a list is the sum over its ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from xmc.errors import DataError

Array: TypeAlias = np.ndarray[Any, Any]
LEAST_WEIGHT = 1e-300  # so that draws in which no row has a weight count as 0, not as 0 / 0


class Terms(NamedTuple):
    """What each row adds to an estimate; `numerators_Q`, `denominators_Q` (Q,)."""

    numerators_Q: Array
    denominators_Q: Array

    def value(self) -> float:
        """The estimate."""
        return float(self.numerators_Q.sum() / self.denominators_Q.sum())

    def pseudo_values(self) -> Array:
        """One value a row, (Q,), whose mean is the estimate: its influence, to first order where it is a ratio."""
        estimate = self.value()
        return estimate + (self.numerators_Q - estimate * self.denominators_Q) / self.denominators_Q.mean()


@dataclass(frozen=True)
class Evidence:
    """All that the estimators know of one candidate; arrays (Q, K).

    `predicted_QK`: what the reward model expects of the shown label at its rank. `expected_QK`: the same for the label
    that the candidate would put there below the labels that were shown. `direct_QK`: below its own.
    `rank_ratios_QK`: candidate over log, of the chance that the label stands at its rank whatever is above; None when
    the log does not have it. `most_weight`: above it weights are clipped, or switched off.
    """

    rewards_QK: Array
    ratios_QK: Array
    predicted_QK: Array
    expected_QK: Array
    direct_QK: Array
    rank_ratios_QK: Array | None
    most_weight: float


def prefix_weights(ratios_QK: Array) -> Array:
    """The weight of each row's list down to each rank, (Q, K): the product of the ratios so far.

    >>> prefix_weights(np.array([[2.0, 0.5, 3.0]])).tolist()
    [[2.0, 1.0, 3.0]]
    """
    return np.cumprod(ratios_QK, axis=1)


def list_weights(ratios_QK: Array) -> Array:
    """The weight of each row's whole list, (Q,)."""
    return np.prod(ratios_QK, axis=1)


def effective_rows(weights_Q: Array) -> float:
    """As many rows of equal weight say as much: (sum w)^2 / sum w^2, and 0 without any weight.

    Reference: Kish 1965; Owen 2013, section 9.3.

    >>> effective_rows(np.ones(8)), effective_rows(np.array([3.0, 1.0, 0.0]))
    (8.0, 1.6)
    """
    squares = float((weights_Q**2).sum())
    return float(weights_Q.sum()) ** 2 / squares if squares > 0 else 0.0


def direct_method(evidence: Evidence) -> Terms:
    """What the reward model expects of the candidate's own lists; wrong wherever the model is.

    Reference: Dudík et al. 2014, equation (1).
    """
    return _mean(evidence.direct_QK.sum(axis=1))


def inverse_propensity(evidence: Evidence) -> Terms:
    """IPS: mean of w r, w the weight of the whole list. Unbiased with full overlap, whatever users do; wild.

    Reference: Horvitz and Thompson 1952; for lists Precup et al. 2000.
    """
    return _mean(list_weights(evidence.ratios_QK) * evidence.rewards_QK.sum(axis=1))


def self_normalised(evidence: Evidence) -> Terms:
    """SNIPS: sum of w r over sum of w. A little biased, and never outside the rewards that were seen.

    Reference: Swaminathan and Joachims 2015, equation (10).
    """
    weights_Q = list_weights(evidence.ratios_QK)
    return Terms(weights_Q * evidence.rewards_QK.sum(axis=1), np.maximum(weights_Q, LEAST_WEIGHT))


def clipped(evidence: Evidence) -> Terms:
    """IPS with weights of at most `most_weight`: biased towards 0, and tame.

    Reference: Ionides 2008; Bottou et al. 2013, section 4.
    """
    weights_Q = np.minimum(list_weights(evidence.ratios_QK), evidence.most_weight)
    return _mean(weights_Q * evidence.rewards_QK.sum(axis=1))


def independent_ips(evidence: Evidence) -> Terms:
    """IIPS: each rank by itself, weighed by its own chance; biased once a click depends on the other labels.

    Reference: Li et al. 2018. Raises: DataError for evidence without `rank_ratios_QK`.
    """
    if evidence.rank_ratios_QK is None:
        raise DataError("iips needs the column rank_propensities, which this log does not have.")
    return _mean((evidence.rank_ratios_QK * evidence.rewards_QK).sum(axis=1))


def reward_interaction_ips(evidence: Evidence) -> Terms:
    """RIPS: each rank weighed by the list down to it; unbiased when a click depends on nothing further down.

    Reference: McInerney et al. 2020, equation (5).
    """
    return _mean((prefix_weights(evidence.ratios_QK) * evidence.rewards_QK).sum(axis=1))


def doubly_robust(evidence: Evidence) -> Terms:
    """DR: the direct method, and w times what the model got wrong. Right if either the weights or the model are.

    Reference: Dudík et al. 2014, equation (2).
    """
    return _doubly_robust(evidence, list_weights(evidence.ratios_QK))


def switch_doubly_robust(evidence: Evidence) -> Terms:
    """DR that leaves the model alone where a weight is above `most_weight`.

    Reference: Wang, Agarwal and Dudík 2017, section 4 (SWITCH-DR).
    """
    weights_Q = list_weights(evidence.ratios_QK)
    return _doubly_robust(evidence, np.where(weights_Q <= evidence.most_weight, weights_Q, 0.0))


def cascade_doubly_robust(evidence: Evidence) -> Terms:
    """Cascade-DR: at each rank RIPS with the model's expectation taken off, and what it expects put back.

    sum over ranks k of w_k (r_k - q_k) + w_{k-1} E[q_k], w_k the weight down to rank k and w_0 = 1. The model q_k is
    that of the reward at rank k alone: whatever it is, the estimate is as unbiased as RIPS. With one rank it is DR.

    Reference: Kiyohara et al. 2022, section 4; Jiang and Li 2016.
    """
    weights_QK = prefix_weights(evidence.ratios_QK)
    above_QK = np.concatenate([np.ones_like(weights_QK[:, :1]), weights_QK[:, :-1]], axis=1)
    wrong_QK = evidence.rewards_QK - evidence.predicted_QK
    return _mean((weights_QK * wrong_QK + above_QK * evidence.expected_QK).sum(axis=1))


ESTIMATORS: Mapping[str, Callable[[Evidence], Terms]] = {
    "dm": direct_method,
    "ips": inverse_propensity,
    "snips": self_normalised,
    "clipped-ips": clipped,
    "iips": independent_ips,
    "rips": reward_interaction_ips,
    "dr": doubly_robust,
    "switch-dr": switch_doubly_robust,
    "cascade-dr": cascade_doubly_robust,
}
NEEDS_RANK_RATIOS = frozenset({"iips"})


def _mean(values_Q: Array) -> Terms:
    return Terms(values_Q, np.ones(len(values_Q)))


def _doubly_robust(evidence: Evidence, weights_Q: Array) -> Terms:
    wrong_Q = (evidence.rewards_QK - evidence.predicted_QK).sum(axis=1)
    return _mean(evidence.direct_QK.sum(axis=1) + weights_Q * wrong_Q)
