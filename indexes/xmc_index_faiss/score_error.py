"""How far float32 scores can be from the true ones.

Shapes: Q queries, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from xmc.api import rounding_bounds

_SLACK_64 = 1e-9  # sums of D terms in float64 err by less than D x 1.2e-16


@dataclass(frozen=True)
class ScoreError:
    """A limit for any query: `of_zero` for one of norm zero, and `per_norm` more for each unit of its norm."""

    of_zero: float
    per_norm: float

    @classmethod
    def rounding(cls, dimension: int, largest_norm: float) -> ScoreError:
        """`rounding_bounds`, which are such a line, of products by faiss or numpy: what torch is told changes none."""
        of_zero, of_one = (rounding_bounds(norm, largest_norm, dimension=dimension) for norm in (0.0, 1.0))
        return cls(of_zero, of_one - of_zero)

    def of(self, norms_Q: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """How far the scores of queries of these norms can be off, float64 (Q,)."""
        return np.asarray((1 + _SLACK_64) * (self.of_zero + self.per_norm * norms_Q))


def norms(vectors_ND: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The Euclidean norm of each row, float64 (N,), in any order."""
    if len(vectors_ND) == 1:  # in few operations
        row_D = vectors_ND[0].astype(np.float64)
        return np.array([sqrt(np.vdot(row_D, row_D))])
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", vectors_ND, vectors_ND, dtype=np.float64)))
