"""Label sets of a promised risk: every hit whose score is near enough to that of the best one.

Shapes: Q queries, H hits, S steps of a risk.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xmc.counted import counted
from xmc.errors import ConfigError, DataError
from xmc.given_numbers import any_number
from xmc.ragged import kept_offsets
from xmc.values import Hits

Array = np.ndarray[Any, Any]
ScoredBy = Literal["gap", "score"]
Risk = Literal["false-negatives", "coverage"]
RISKS: tuple[Risk, ...] = ("false-negatives", "coverage")


@dataclass(frozen=True)
class RiskCurve:
    """The mean loss over the calibration queries of keeping only hits of at least `cut_offs_S`, which ascend.

    `risks_S` ascend too; `missing` is the loss that remains when nothing is cut off.
    """

    queries: int
    missing: float
    cut_offs_S: Array
    risks_S: Array

    def cut_off(self, alpha: float) -> float:
        """The largest cut-off t with n / (n + 1) · risk(t) + 1 / (n + 1) <= alpha.

        The expected loss of a new, exchangeable query is then at most alpha.

        Raises: ConfigError for alpha outside (0, 1); DataError when there are too few queries for it, or when even
        the longest lists miss more.

        Reference: Angelopoulos, Bates, Fisch, Lei, Schuster 2024, Conformal risk control, section 2.

        >>> curve = RiskCurve(9, 0.0, np.array([0.1, 0.5, 0.9]), np.array([0.0, 0.2, 0.6]))
        >>> curve.cut_off(0.3)
        0.5
        """
        alpha = any_number(alpha, name="alpha")
        if not 0 < alpha < 1:
            raise ConfigError(f"alpha must lie between 0 and 1, got {alpha}.")
        needed = queries_needed(alpha)
        if self.queries < needed:
            raise DataError(
                f"alpha = {alpha:g} needs at least {counted(needed, 'calibration query')}, got {self.queries:,}.",
                hint="Hold out more queries, or choose a larger alpha.",
            )
        budget = (alpha * (self.queries + 1) - 1) / self.queries
        place = int(np.searchsorted(self.risks_S, budget + 1e-12, side="right")) - 1
        if place < 0:
            raise DataError(
                f"alpha = {alpha:g} cannot be kept: even the longest lists miss {self.missing:.3f}.",
                hint="Raise check.conformal.most_labels, or choose a larger alpha.",
            )
        return float(self.cut_offs_S[place])


def queries_needed(alpha: float) -> int:
    """The fewest calibration queries n with 1 / (n + 1) <= alpha.

    >>> queries_needed(0.1), queries_needed(0.05)
    (9, 19)
    """
    return max(1, math.ceil(1 / alpha - 1 - 1e-9))


@dataclass(frozen=True)
class LabelSets:
    """How to cut a list of hits so that a risk is kept; `scored_by` says what is compared with the cut-off."""

    scored_by: ScoredBy
    most_labels: int
    curves: Mapping[str, RiskCurve]

    def cut(self, hits: Hits, *, alpha: float, risk: Risk = "false-negatives") -> Hits:
        """The hits that stay, in their order; a list is cut at its end.

        Raises: ConfigError for an unknown risk or alpha; DataError when alpha is too small for the calibration.
        """
        if risk not in self.curves:
            raise ConfigError(f"there is no risk '{risk}' (there are: {', '.join(self.curves)}).")
        return keep_hits(hits, nearness(hits, self.scored_by) >= self.curves[risk].cut_off(alpha))


def nearness(hits: Hits, scored_by: ScoredBy) -> Array:
    """What is compared with a cut-off, (H,) float64: the score, or the score minus that of the query's best hit.

    >>> hits = Hits(np.array([0, 2]), np.array([5, 3]), np.array([0.75, 0.5]))
    >>> nearness(hits, "gap").tolist()
    [0.0, -0.25]
    """
    scores_H = hits.scores.astype(np.float64)
    if scored_by == "score" or not len(scores_H):
        return scores_H
    counts_Q = np.diff(hits.offsets)
    first_Q = np.minimum(hits.offsets[:-1], len(scores_H) - 1)
    return np.asarray(scores_H - np.repeat(scores_H[first_Q], counts_Q))


def keep_hits(hits: Hits, kept_H: Array) -> Hits:
    """The marked hits of each query, in their order.

    >>> keep_hits(Hits(np.array([0, 2, 3]), np.array([5, 3, 1]), np.ones(3)), np.array([True, False, False])).offsets
    array([0, 1, 1])
    """
    return Hits(kept_offsets(hits.offsets, kept_H), hits.label_rows[kept_H], hits.scores[kept_H])
