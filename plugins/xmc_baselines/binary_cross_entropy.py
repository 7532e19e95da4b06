"""One-vs-all binary cross entropy: every label is its own yes-or-no question."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.api import LossInputs, require_positive


@dataclass(frozen=True)
class BinaryCrossEntropy:
    """Σ over positives of weight · softplus(−z) + Σ over negatives of softplus(z), with z = score / temperature + bias.

    `reduction="mean"` divides by the number of scored labels C, as the baseline is usually run; over all of many labels
    that leaves almost no gradient on the few positives (1/50,000 each), and `"sum"` does not divide. `bias` shifts
    every logit: about −log C starts the training from "no label is relevant". A query without positives gives 0, as of
    every loss of xmc, so it teaches nothing about its negatives. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when the temperature is not a finite number above 0 or the bias is not finite.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    >>> round(BinaryCrossEntropy()(inputs).item(), 4)  # log 2 per label
    0.6931
    """

    temperature: float = 1.0
    bias: float = 0.0
    reduction: Literal["mean", "sum"] = "mean"

    claims: ClassVar[frozenset[str]] = frozenset({"positives_do_not_compete", "skips_labels"})

    def __post_init__(self) -> None:
        require_positive(self, "temperature")
        if not math.isfinite(self.bias):
            raise ValueError(f"bias must be finite, got {self.bias}")
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be 'mean' or 'sum', got {self.reduction!r}")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        logits_P, negatives_Q = inputs.softplus_sum(temperature=self.temperature, bias=self.bias)
        has_positive_Q = inputs.positive_weight_sum_Q > 0
        loss_Q = inputs.sum_over_positives(-logsigmoid(logits_P)) + negatives_Q * has_positive_Q
        return loss_Q / inputs.label_counts_Q if self.reduction == "mean" else loss_Q
