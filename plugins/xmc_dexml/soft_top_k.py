"""Soft top k: the loss asks that every positive be among the k best labels, and no more than that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.api import LossInputs, require_positive


@dataclass(frozen=True)
class SoftTopK:
    """The weighted mean over the positives p of −log σ(α(s_p + t)); t makes Σ over labels l of σ(α(s_l + t)) = k.

    s = score / temperature; σ(α(s_l + t)) is the membership of label l among the k best, softer the smaller α. With
    k=1, many labels and no large membership it is near the cross entropy of softmax(α·s); with a large α it is the
    indicator of the k best. `k="positives"` takes for each query as many places as it has positives.

    A pool of no more than k labels has a place for everyone: value 0, gradient 0. So a shortlist must be longer than k.
    A query without positives gives 0. Each row of the gradient sums to 0. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when k is below 1, or alpha or the temperature is not a finite number above 0.
    Reference: Gupta et al., Dual-Encoders for Extreme Multi-label Classification, ICLR 2024.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.zeros(1, 4), torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    >>> round(SoftTopK(k=2)(inputs).item(), 4)  # log 2: two places for four equal labels
    0.6931
    """

    k: int | Literal["positives"] = 5
    alpha: float = 2.0
    temperature: float = 1.0

    claims: ClassVar[frozenset[str]] = frozenset({"shift_invariant", "skips_labels"})

    def __post_init__(self) -> None:
        if isinstance(self.k, str):
            if self.k != "positives":
                raise ValueError(f"k must be a whole number >= 1 or 'positives', got {self.k!r}")
        elif self.k < 1:
            raise ValueError(f"k must be a whole number >= 1 or 'positives', got {self.k}")
        require_positive(self, "alpha", "temperature")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        queries, rows_P = inputs.scores_QC.shape[0], inputs.positive_rows_P
        k_Q = (
            torch.bincount(rows_P, minlength=queries) if self.k == "positives" else rows_P.new_full((queries,), self.k)
        )
        logits_P = inputs.top_k_logits(k_Q, slope=self.alpha / self.temperature)
        return inputs.sum_over_positives(-logsigmoid(logits_P), mean=True)
