"""InfoNCE with several positives: softmax cross entropy against every label, averaged over the positives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from xmc.api import LossInputs, require_positive


@dataclass(frozen=True)
class InfoNce:
    """The weighted mean over the positives p of log Σ over all labels l of exp(s_l) − s_p; s = score / temperature.

    The positives of a query compete: one whose probability is above its share is pushed down, and with K equal
    positives the least value is log K. A query without positives gives 0. Differentiable once.

    Over sampled labels `correct_sampling` divides exp(s_l) of a drawn label by the probability of drawing it (the log Q
    correction of sampled softmax): the denominator is then on average that over all labels, instead of far too small.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when the temperature is not a finite number above 0.
    Reference: van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, equation 4.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[50.0, 50.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]]))
    >>> round(InfoNce()(inputs).item(), 4)  # log 2: perfect separation of two positives
    0.6931
    """

    temperature: float = 1.0
    correct_sampling: bool = False

    claims: ClassVar[frozenset[str]] = frozenset({"shift_invariant", "skips_labels"})

    def __post_init__(self) -> None:
        require_positive(self, "temperature")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        logits_P, log_all_Q = inputs.log_sum_exp(
            "all", temperature=self.temperature, correct_sampling=self.correct_sampling
        )
        return inputs.sum_over_positives(log_all_Q[inputs.positive_rows_P] - logits_P, mean=True)
