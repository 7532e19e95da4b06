"""Spherical softmax: the exponential replaced by the square."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xmc.api import LossInputs, require_positive


@dataclass(frozen=True)
class SphericalSoftmax:
    """The weighted mean over the positives p of −log [(o_p² + eps) / Σ over all labels l of (o_l² + eps)]; o = score.

    Blind to the sign: −o is as likely as o. An index returns the highest scores and not the largest squares, so this
    suits scores that are not negative, or needs a start at which the positives' are not. `eps`, in units of a squared
    score, keeps the gradient finite at o = 0; as it goes to 0 the loss becomes indifferent to the scale of the scores.
    Positives compete, as in any softmax. A query without positives gives 0. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when eps is not a finite number above 0.
    Reference: de Brébisson and Vincent, An Exploration of Softmax Alternatives Belonging to the Spherical Loss Family,
    2016.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[2.0, 1.0, -1.0]]), torch.eye(1, 3))
    >>> round(SphericalSoftmax(eps=1.0)(inputs).exp().item(), 4)  # 1 / p, with p = 5 / (5 + 2 + 2)
    1.8
    """

    eps: float = 0.01

    needs: ClassVar[frozenset[str]] = frozenset({"moments"})
    disclaims: ClassVar[frozenset[str]] = frozenset({"higher_positive_is_better"})

    def __post_init__(self) -> None:
        require_positive(self, "eps")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        scores_P, mean_Q, variance_Q = inputs.moments()
        log_total_Q = (inputs.scores_QC.shape[1] * (variance_Q + mean_Q.square() + self.eps)).log()
        loss_P = log_total_Q[inputs.positive_rows_P] - (scores_P.square() + self.eps).log()
        return inputs.sum_over_positives(loss_P, mean=True).to(inputs.working_dtype)
