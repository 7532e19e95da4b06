"""What a run would show: a chance for each candidate label at each rank, given the labels above it.

Shapes: Q rows, M columns of candidates (score -inf where a row has fewer), K ranks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Policy:
    """Fills the ranks from the top, each with one of the candidates that are left.

    With `temperature` 0 the best score comes next, of equal ones the first column: what `xmc serve` shows, cut to the
    candidates. Above 0 a label l comes next with a chance in proportion to exp(score_l / temperature)
    (Plackett and Luce).
    """

    scores_QM: Array
    temperature: float

    def take(self, rows: slice) -> Policy:
        """Some rows."""
        return Policy(self.scores_QM[rows], self.temperature)

    def next_chances(self, taken_QM: Array) -> Array:
        """The chance of each candidate to come next, (Q, M), when `taken_QM` stand above; zeros when none is left.

        >>> policy = Policy(np.log([[6.0, 3.0, 1.0]]), 1.0)
        >>> policy.next_chances(np.array([[True, False, False]])).round(2).tolist()
        [[0.0, 0.75, 0.25]]
        """
        left_QM = np.where(taken_QM, -np.inf, self.scores_QM)
        best_Q = left_QM.max(axis=1)
        is_left_Q = np.isfinite(best_Q)
        if self.temperature == 0:
            chances_QM = np.zeros_like(left_QM)
            chances_QM[is_left_Q, left_QM.argmax(axis=1)[is_left_Q]] = 1.0
            return chances_QM
        gaps_QM = left_QM - np.where(is_left_Q, best_Q, 0.0)[:, None]
        masses_QM = np.exp(gaps_QM / self.temperature)
        return masses_QM / np.where(is_left_Q, masses_QM.sum(axis=1), 1.0)[:, None]

    def draw(self, ranks: int, generator: np.random.Generator) -> Array:
        """One list a row, (Q, K) columns; ranks beyond the candidates of a row hold columns it does not have.

        Reference: Kool et al. 2019 (the best K scores, with Gumbel noise).
        """
        noisy_QM = self.scores_QM
        if self.temperature > 0:
            noisy_QM = noisy_QM / self.temperature + generator.gumbel(size=noisy_QM.shape)
        return np.argsort(-noisy_QM, axis=1, kind="stable")[:, :ranks]


def chances_down(policy: Policy, columns_QK: Array) -> Iterator[Array]:
    """For each rank the chances (Q, M) of what comes next below the first labels of `columns_QK`."""
    taken_QM = np.zeros(policy.scores_QM.shape, bool)
    rows_Q = np.arange(len(taken_QM))
    for rank in range(columns_QK.shape[1]):
        yield policy.next_chances(taken_QM)
        taken_QM[rows_Q, columns_QK[:, rank]] = True


def rank_chances(policy: Policy, ranks: int, *, draws: int, generator: np.random.Generator) -> Array:
    """The chance of each candidate to stand at each rank whatever is above, (Q, K, M).

    Exact for the first rank and for temperature 0; else the mean over `draws` drawn lists of the chance below them.

    >>> chances = rank_chances(Policy(np.array([[1.0, 3.0, 2.0]]), 0.0), 2, draws=9, generator=np.random.default_rng(0))
    >>> chances.tolist()
    [[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]]
    """
    draws = 1 if ranks == 1 or policy.temperature == 0 else draws
    queries, columns = policy.scores_QM.shape
    sums_QKM = np.zeros((queries, ranks, columns))
    for _ in range(draws):
        for rank, chances_QM in enumerate(chances_down(policy, policy.draw(ranks, generator))):
            sums_QKM[:, rank] += chances_QM
    return sums_QKM / draws
