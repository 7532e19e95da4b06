"""Squared error to the sparse target: relevance for the positives, 0 for every other label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xmc.api import LossInputs


@dataclass(frozen=True)
class SparseMse:
    """Σ over all labels l of (o_l − y_l)², where o is the score and y the relevance (0 for a negative).

    Computed as Σo² − 2 Σ y_p o_p + Σ y_p², so only the positives are touched one by one. It is a sum, not a mean over
    the labels, for a mean over very many would leave no gradient on the positives. A positive's score above its
    relevance counts as an error too. A query without positives gives 0. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Reference: Vincent, de Brébisson and Bouthillier, Efficient Exact Gradient Update for training Deep Networks with
    Very Large Sparse Targets, NIPS 2015.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[0.5, 0.5, -1.0]]), torch.eye(1, 3))
    >>> SparseMse()(inputs).item()  # 0.5² + 0.5² + 1²
    1.5
    """

    needs: ClassVar[frozenset[str]] = frozenset({"moments"})
    disclaims: ClassVar[frozenset[str]] = frozenset({"higher_positive_is_better"})

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        scores_P, mean_Q, variance_Q = inputs.moments()
        labels = inputs.scores_QC.shape[1]
        squares_Q = labels * (variance_Q + mean_Q.square())
        correction_Q = inputs.sum_over_positives(inputs.positive_weights_P.double() - 2 * scores_P)
        has_positive_Q = inputs.positive_weight_sum_Q > 0
        return ((squares_Q + correction_Q) * has_positive_Q).to(inputs.working_dtype)
