"""A log with a known truth: a policy shows labels, users click by relevance and by place.

Shapes: Q rows, M columns of candidates, K ranks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xmc.choose.estimators import Array
from xmc.choose.log import log_table
from xmc.choose.policy import Policy, chances_down, rank_chances
from xmc.counted import counted
from xmc.data.tables import QueryTable
from xmc.errors import ConfigError
from xmc.retrieve.batch import search_texts
from xmc.retrieve.retriever import Retriever

TRUTH_DRAWS = 400  # lists a row behind a true value, and behind a logged chance of a label at a rank


@dataclass(frozen=True)
class Clicks:
    """How users click: a label that they look at with the chance `relevant` if it is a positive, else `irrelevant`.

    They look at rank k with the chance (1 / k) ^ `decay`; with `cascade`, at nothing below their first click.
    """

    relevant: float = 0.7
    irrelevant: float = 0.05
    decay: float = 1.0
    cascade: bool = False

    def __post_init__(self) -> None:
        for name in ("relevant", "irrelevant"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must lie in 0..1, got {getattr(self, name)}.")

    def chances(self, relevant_QK: Array) -> Array:
        """The chance of a click at each rank if users get there, (Q, K), by whether the label there is a positive."""
        looks_K = np.arange(1, relevant_QK.shape[1] + 1, dtype=np.float64) ** -self.decay
        return np.where(relevant_QK, self.relevant, self.irrelevant) * looks_K

    def expected(self, relevant_QK: Array) -> Array:
        """The expected clicks of each list, (Q,).

        >>> lists = np.array([[True, True]])
        >>> [Clicks(0.5, decay=0, cascade=cascade).expected(lists).tolist() for cascade in (False, True)]
        [[1.0], [0.75]]
        """
        chances_QK = self.chances(relevant_QK)
        if self.cascade:
            return np.asarray(1 - np.prod(1 - chances_QK, axis=1))
        return np.asarray(chances_QK.sum(axis=1))

    def draw(self, relevant_QK: Array, generator: np.random.Generator) -> Array:
        """Clicks, 0 or 1, (Q, K)."""
        clicks_QK = generator.random(relevant_QK.shape) < self.chances(relevant_QK)
        if self.cascade:
            clicks_QK &= np.cumsum(clicks_QK, axis=1) == 1
        return clicks_QK.astype(np.float64)


def true_value(
    policy: Policy, relevant_QM: Array, *, shown: int, clicks: Clicks, draws: int = TRUTH_DRAWS, seed: int = 0
) -> float:
    """The expected clicks on a list of `shown` labels, mean over the rows; by `draws` lists a row if it draws."""
    generator = np.random.default_rng(seed)
    draws = 1 if policy.temperature == 0 else draws
    lists = (policy.draw(shown, generator) for _ in range(draws))
    sums = [clicks.expected(np.take_along_axis(relevant_QM, columns_QK, axis=1)).mean() for columns_QK in lists]
    return float(np.mean(sums))


@dataclass(frozen=True)
class SimulatedLog:
    """The log as an Arrow table, and what it was made with: the policy and the relevance of its candidates, by row."""

    table: Any
    policy: Policy
    relevant_QM: Array = field(repr=False)


def simulate_log(
    retriever: Retriever,
    queries: QueryTable,
    *,
    rows: int,
    shown: int = 3,
    candidates: int = 20,
    temperature: float = 0.05,
    clicks: Clicks | None = None,
    seed: int = 0,
) -> SimulatedLog:
    """A log of `rows` lists for queries drawn with replacement, by a run that explores.

    It draws among its best `candidates` labels with chances by softmax(score / temperature). Label rows of the
    positives must be those of the retriever.
    Raises: ConfigError unless 1 <= shown <= candidates <= labels, and for a temperature of 0: nothing can be learnt
    from a policy that never explores.
    """
    labels = len(retriever.labels)
    if not 1 <= shown <= candidates <= labels:
        raise ConfigError(f"1 <= shown <= candidates <= {counted(labels, 'label')}, got {shown:,} and {candidates:,}.")
    if temperature <= 0:
        raise ConfigError(f"the policy that makes a log needs a temperature above 0, got {temperature}.")
    generator = np.random.default_rng(seed)
    picked = generator.integers(len(queries), size=rows)
    used, place_Q = np.unique(picked, return_inverse=True)
    hits = search_texts(retriever, [queries.texts[row] for row in used], k=candidates)
    order = np.argsort(hits.label_rows.reshape(len(used), candidates), axis=1)  # candidates stand in the order of ids
    label_rows_UM = np.take_along_axis(hits.label_rows.reshape(len(used), candidates), order, axis=1)
    scores_UM = np.take_along_axis(hits.scores.reshape(len(used), candidates), order, axis=1)
    positives = queries.positives.take(used)
    keys_UM = np.arange(len(used))[:, None] * labels + label_rows_UM
    relevant_UM = np.isin(keys_UM, positives.pair_keys(labels))
    policy = Policy(scores_UM[place_Q].astype(np.float64), temperature)
    relevant_QM = relevant_UM[place_Q]
    ids_QM = np.asarray(retriever.labels.ids, dtype=object)[label_rows_UM[place_Q]]
    columns = _draw_columns(policy, relevant_QM, ids_QM, shown, clicks or Clicks(), generator)
    asked = {"query_id": [queries.ids[row] for row in picked], "text": [queries.texts[row] for row in picked]}
    return SimulatedLog(log_table({**asked, **columns}), policy, relevant_QM)


def _draw_columns(
    policy: Policy, relevant_QM: Array, ids_QM: Array, shown: int, clicks: Clicks, generator: np.random.Generator
) -> dict[str, list[list[Any]]]:
    """What was shown, with which chances, and what was clicked, as columns of a log."""
    columns_QK = policy.draw(shown, generator)
    given_above = [
        np.take_along_axis(chances_QM, columns_QK[:, rank, None], axis=1)
        for rank, chances_QM in enumerate(chances_down(policy, columns_QK))
    ]
    by_rank_QKM = rank_chances(policy, shown, draws=TRUTH_DRAWS, generator=generator)
    return {
        "candidates": ids_QM.tolist(),
        "label_ids": np.take_along_axis(ids_QM, columns_QK, axis=1).tolist(),
        "propensities": np.concatenate(given_above, axis=1).tolist(),
        "rewards": clicks.draw(np.take_along_axis(relevant_QM, columns_QK, axis=1), generator).tolist(),
        "rank_propensities": np.take_along_axis(by_rank_QKM, columns_QK[:, :, None], axis=2)[:, :, 0].tolist(),
    }
