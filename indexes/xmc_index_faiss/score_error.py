"""How far float32 scores can be from the true ones.

Shapes: Q queries, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_UNIT = 2.0**-24
_TINY = 2.0**-126
_SLACK = 1.05
_SLACK_64 = 1e-9  # sums of D terms in float64 err by less than D x 1.2e-16


def rounding_bounds(queries_QD: Tensor, largest_norm: float, *, reduced: float = 0.0) -> Tensor:
    """How far a float32 product with a vector of at most this norm can be from the true score, float64, (Q,).

    `reduced` is the share of a product by which torch may shorten it (`xmc.api.float32_product_error`).

    Reference: Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 3.1, for any order of summation.
    """
    norms_Q = torch.linalg.vector_norm(queries_QD, dim=1, dtype=torch.float64)
    dimension = queries_QD.shape[1]
    relative = ((dimension + 8) * _UNIT + reduced) * norms_Q * largest_norm
    return _SLACK * (relative + dimension * _TINY * (1 + norms_Q + largest_norm))


@dataclass(frozen=True)
class ScoreError:
    """A limit for any query: `of_zero` for one of norm zero, and `per_norm` more for each unit of its norm."""

    of_zero: float
    per_norm: float

    @classmethod
    def rounding(cls, dimension: int, largest_norm: float) -> ScoreError:
        """`rounding_bounds`, which are such a line."""
        zero_and_one = torch.zeros(2, dimension)
        zero_and_one[1, 0] = 1.0
        of_zero, of_one = rounding_bounds(zero_and_one, largest_norm).tolist()
        return cls(of_zero, of_one - of_zero)

    def of(self, queries_QD: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """How far the scores of each query can be off, float64 (Q,)."""
        norms_Q = np.sqrt(np.einsum("qd,qd->q", queries_QD, queries_QD, dtype=np.float64))
        return np.asarray((1 + _SLACK_64) * (self.of_zero + self.per_norm * norms_Q))
