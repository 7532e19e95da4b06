"""Decoupled softmax: each positive of a query competes with the negatives only, never with the other positives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.api import LossInputs, require_positive


@dataclass(frozen=True)
class DecoupledSoftmax:
    """The weighted mean over the positives p of −log [exp(s_p) / (exp(s_p) + Σ over negatives n of exp(s_n))].

    Written stably: softplus(log Σ_n exp(s_n) − s_p), with s = score / temperature. With one positive it is the cross
    entropy; its gradient on a positive is never above 0; its least value is 0, also with many positives. A query
    without positives, or without negatives, gives 0. Differentiable once.

    Over sampled labels `correct_sampling` divides exp(s_n) of a drawn negative by the probability of drawing it, so
    that the sum over the negatives is on average that over all labels; over all labels it changes nothing.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when the temperature is not a finite number above 0.
    Reference: Gupta et al., Dual-Encoders for Extreme Multi-label Classification, ICLR 2024.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[2.0, 2.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    >>> round(DecoupledSoftmax()(inputs).item(), 4)  # log(1 + exp(0 - 2)), for either positive
    0.1269
    """

    temperature: float = 1.0
    correct_sampling: bool = False

    claims: ClassVar[frozenset[str]] = frozenset({"shift_invariant", "positives_do_not_compete", "skips_labels"})

    def __post_init__(self) -> None:
        require_positive(self, "temperature")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        logits_P, log_negatives_Q = inputs.log_sum_exp(
            "negatives", temperature=self.temperature, correct_sampling=self.correct_sampling
        )
        loss_P = -logsigmoid(logits_P - log_negatives_Q[inputs.positive_rows_P])
        return inputs.sum_over_positives(loss_P, mean=True)
