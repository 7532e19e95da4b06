"""Z-loss: how many standard deviations a positive stands above the mean of its query's scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from xmc.api import LossInputs, require_positive


@dataclass(frozen=True)
class ZLoss:
    """The weighted mean over the positives p of softplus(a · (b − z_p)) / a, with z_p = (o_p − mean) / deviation.

    o is the score, mean and (population) deviation are those of all scores of the query, a is `sharpness`, b
    `location`. Neither a shift nor a scale above 0 of a query's scores changes the value, so there is no temperature.
    The largest z among C labels is √(C − 1), so b has to stay below it; once z_p is well above b a positive learns no
    more. The larger a, the nearer is the hinge max(0, b − z_p).

    Σ ∂/∂o = 0 and Σ o · ∂/∂o = 0 over the labels of a query. Where all scores of a query are equal up to rounding
    (deviation <= eps · max(1, |mean|), eps that of float32, or of float64 for float64 scores) there is no z: it counts
    as 0, so the value is softplus(a · b) / a and the gradient 0, and the two invariances end there.
    A query without positives gives 0. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when the sharpness is not a finite number above 0 or the location is not finite.
    Reference: de Brébisson and Vincent, The Z-loss: a shift and scale invariant classification loss belonging to the
    Spherical Family, 2016. Not the penalty on the square of the log-partition that shares the name.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[3.0, 1.0, 1.0, 1.0, -1.0]]), torch.eye(1, 5))
    >>> round(ZLoss()(inputs).item(), 4)  # z = (3 - 1) / √1.6
    0.1871
    """

    sharpness: float = 1.0
    location: float = 0.0

    needs: ClassVar[frozenset[str]] = frozenset({"moments"})
    claims: ClassVar[frozenset[str]] = frozenset({"shift_invariant", "scale_invariant"})

    def __post_init__(self) -> None:
        require_positive(self, "sharpness")
        if not math.isfinite(self.location):
            raise ValueError(f"location must be finite, got {self.location}")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        dtype = inputs.working_dtype
        scores_P, mean_Q, variance_Q = inputs.moments()
        floor_Q = torch.finfo(dtype).eps * mean_Q.detach().abs().clamp(min=1.0)
        spread_Q = variance_Q > floor_Q.square()
        deviation_Q = variance_Q.where(spread_Q, torch.ones_like(variance_Q)).sqrt()
        rows_P = inputs.positive_rows_P
        z_P = (scores_P - mean_Q[rows_P]) / deviation_Q[rows_P]
        z_P = z_P.where(spread_Q[rows_P], torch.zeros_like(z_P))
        loss_P = softplus(self.sharpness * (self.location - z_P), threshold=40.0) / self.sharpness
        return inputs.sum_over_positives(loss_P, mean=True).to(dtype)
