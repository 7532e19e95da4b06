"""A small world with known chances: many logs at once, as rows of one, with everything the estimators are told."""

from dataclasses import replace
from itertools import permutations

import numpy as np

from xmc.choose.estimators import Evidence
from xmc.choose.policy import chances_down

SCORES = np.array([0.9, 0.4, 0.0, -0.5])
OTHER_SCORES = np.array([-0.2, 0.7, 0.6, 0.1])
RELEVANT = np.array([False, True, True, False])


def lists_of(policy, ranks):
    """Every list that the first row of a policy can show, with its chance: the definition, as plain loops."""
    scores = policy.scores_QM[0]
    for columns in permutations(range(len(scores)), ranks):
        chance, left = 1.0, list(range(len(scores)))
        for column in columns:
            masses = {other: np.exp(scores[other] / policy.temperature) for other in left}
            chance *= masses[column] / sum(masses.values())
            left.remove(column)
        yield np.array(columns), chance


def rank_chances_by_hand(policy, ranks):
    """The chance of each label at each rank, (K, M), by summing over all lists."""
    chances_KM = np.zeros((ranks, policy.scores_QM.shape[1]))
    for columns, chance in lists_of(policy, ranks):
        chances_KM[np.arange(ranks), columns] += chance
    return chances_KM


def value_by_hand(policy, clicks, ranks):
    """The true value of a policy over `RELEVANT`."""
    return sum(chance * clicks.expected(RELEVANT[None, columns])[0] for columns, chance in lists_of(policy, ranks))


def observe(behaviour, candidate, clicks, *, ranks, seed, model_M=None):
    """Let `behaviour` show lists, users click, and gather what that says about `candidate`; rows share one query.

    The reward model is `model_M` at every rank, zero unless given.
    """
    generator = np.random.default_rng(seed)
    columns_QK = behaviour.draw(ranks, generator)
    rewards_QK = clicks.draw(RELEVANT[columns_QK], generator)
    model_M = np.zeros(len(RELEVANT)) if model_M is None else model_M
    every_Q = np.arange(len(columns_QK))
    shown, own, expected = [], [], []
    for rank, (before_QM, after_QM) in enumerate(
        zip(chances_down(behaviour, columns_QK), chances_down(candidate, columns_QK), strict=True)
    ):
        shown.append(before_QM[every_Q, columns_QK[:, rank]])
        own.append(after_QM[every_Q, columns_QK[:, rank]])
        expected.append(after_QM @ model_M)
    by_hand = [rank_chances_by_hand(policy, ranks) for policy in (candidate, behaviour)]
    at_rank_QK = [chances_KM[np.arange(ranks), columns_QK] for chances_KM in by_hand]
    return Evidence(
        rewards_QK=rewards_QK,
        ratios_QK=np.stack(own, axis=1) / np.stack(shown, axis=1),
        predicted_QK=model_M[columns_QK],
        expected_QK=np.stack(expected, axis=1),
        direct_QK=np.tile(by_hand[0] @ model_M, (len(columns_QK), 1)),
        rank_ratios_QK=at_rank_QK[0] / at_rank_QK[1],
        most_weight=5.0,
    )


def logs_of(evidence, logs):
    """The rows of an evidence dealt out to so many logs."""
    names = ("rewards_QK", "ratios_QK", "predicted_QK", "expected_QK", "direct_QK", "rank_ratios_QK")
    parts = zip(*(np.split(getattr(evidence, name), logs) for name in names), strict=True)
    return [replace(evidence, **dict(zip(names, part, strict=True))) for part in parts]
