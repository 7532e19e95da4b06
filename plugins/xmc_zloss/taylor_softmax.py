"""Taylor softmax: the exponential replaced by its second-order expansion, which is never below one half."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xmc.api import LossInputs, require_positive


@dataclass(frozen=True)
class TaylorSoftmax:
    """The weighted mean over the positives p of −log [f(o_p) / Σ over all labels l of f(o_l)], f(o) = 1 + o + o²/2.

    o = score / temperature. All probabilities are above 0 and add up to 1. f falls until o = −1 and rises after it, so
    the loss pushes a positive below −1 further down: best with scores that start near 0, and an index that returns the
    highest scores finds the likely labels only among those above −1. Positives compete, as in any softmax.
    A query without positives gives 0. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when the temperature is not a finite number above 0.
    Reference: de Brébisson and Vincent, An Exploration of Softmax Alternatives Belonging to the Spherical Loss Family,
    2016.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[2.0, 0.0, 0.0]]), torch.eye(1, 3))
    >>> round(TaylorSoftmax()(inputs).exp().item(), 4)  # 1 / p, with p = 5 / (5 + 1 + 1)
    1.4
    """

    temperature: float = 1.0

    needs: ClassVar[frozenset[str]] = frozenset({"moments"})
    disclaims: ClassVar[frozenset[str]] = frozenset({"higher_positive_is_better"})

    def __post_init__(self) -> None:
        require_positive(self, "temperature")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        scores_P, mean_Q, variance_Q = inputs.moments()
        labels = inputs.scores_QC.shape[1]
        o_P, mean_Q, variance_Q = (
            scores_P / self.temperature,
            mean_Q / self.temperature,
            variance_Q / self.temperature**2,
        )
        log_total_Q = (labels * (1 + mean_Q + (variance_Q + mean_Q.square()) / 2)).log()
        loss_P = log_total_Q[inputs.positive_rows_P] - (1 + o_P + o_P.square() / 2).log()
        return inputs.sum_over_positives(loss_P, mean=True).to(inputs.working_dtype)
