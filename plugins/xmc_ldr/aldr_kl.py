"""ALDR-KL: LDR-KL that finds a λ for each training query, small where the model is sure of it and large where not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.special import entr

from xmc.api import LossInputs, require_at_least
from xmc_ldr.ldr_kl import ldr_kl

LEAST_LAMBDA = 1e-3
LOG_2 = math.log(2.0)


@dataclass(frozen=True)
class AldrKl:
    """The largest over λ of LDR-KL(λ) − `alpha` · log n / (2 λ₀) · (λ − λ₀)²; λ₀ is `lambda_`, n = 1 + negatives.

    LDR-KL(λ) is that of `LdrKl`: for each positive p a distribution d over p and the negatives. The largest is at
    λ = λ₀ · (1 − KL / (alpha · log n)), KL being the divergence of d from the uniform one, averaged over the positives
    with their weights. So λ lies between λ₀ · (1 − 1/alpha) and λ₀, and never below `LEAST_LAMBDA`: where the model is
    sure the loss insists on the label, where it is not the loss goes easy on it, for the label may be wrong.

    The λ of a query is its row state: it starts at λ₀, and each visit takes one step, d from the old λ, then λ from d;
    value and gradient are those at the new λ. At a fixed point this is the maximum, and the gradient exact. Without a
    state (outside training) λ is λ₀. The theory wants bounded scores: cosine, with λ₀ about the temperature.

    One λ serves all positives of a query, for the sum over them is what is made largest. With one positive it is the
    paper's loss. A query without positives, or without negatives, gives 0. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when `lambda_` is below `LEAST_LAMBDA`, alpha below 1 or the margin below 0, or one not finite.
    Reference: Zhu, Ying, Yang, Label Distributionally Robust Losses, ICML 2023; several positives are our extension.

    >>> import torch
    >>> scores_QC = torch.tensor([[6.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> inputs = LossInputs.from_dense(scores_QC, torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    >>> [round(value, 2) for value in AldrKl().next_row_state(inputs).tolist()]  # sure, unsure
    [0.52, 1.0]
    """

    lambda_: float = 1.0
    alpha: float = 2.0
    margin: float = 0.0

    claims: ClassVar[frozenset[str]] = frozenset({"shift_invariant", "positives_do_not_compete", "skips_labels"})

    def __post_init__(self) -> None:
        require_at_least(LEAST_LAMBDA, self, "lambda_")
        require_at_least(1, self, "alpha")
        require_at_least(0, self, "margin")

    @property
    def row_state_start(self) -> float:
        """The λ of a query before its first visit."""
        return self.lambda_

    def next_row_state(self, inputs: LossInputs) -> Tensor:
        """The λ of each query after one more step, (Q,), without gradient; λ₀ for one without positives or negatives.

        KL = log n − entropy of d; with π the share of p in d, that is H(π) + (1 − π) · entropy of d on the negatives.
        """
        lambda_Q, rows_P = self._lambda(inputs), inputs.positive_rows_P
        logits_P, log_negatives_Q, negatives_entropy_Q = inputs.softmax_entropy(temperature=lambda_Q)
        lead_P = logits_P - log_negatives_Q[rows_P] - self.margin / lambda_Q[rows_P].to(logits_P.dtype)
        positive_P, negatives_P = lead_P.sigmoid(), (-lead_P).sigmoid()
        entropy_P = entr(positive_P) + entr(negatives_P) + negatives_P * negatives_entropy_Q[rows_P]
        log_n_Q = inputs.negative_counts_Q.to(entropy_P.dtype).log1p()
        divergence_Q = inputs.sum_over_positives((log_n_Q[rows_P] - entropy_P).clamp(min=0.0), mean=True)
        share_Q = (divergence_Q / log_n_Q.clamp(min=LOG_2)).clamp(max=1.0)  # without negatives 0 / log 2
        return (self.lambda_ * (1 - share_Q / self.alpha)).clamp(min=LEAST_LAMBDA)

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query at its λ, (Q,)."""
        lambda_Q = self._lambda(inputs)
        value_Q = ldr_kl(inputs, lambda_Q, self.margin)
        log_n_Q = inputs.negative_counts_Q.to(value_Q.dtype).log1p()
        strain_Q = self.alpha * log_n_Q / (2 * self.lambda_) * (lambda_Q - self.lambda_) ** 2
        return (value_Q - strain_Q * (inputs.positive_weight_sum_Q > 0)).to(value_Q.dtype)

    def _lambda(self, inputs: LossInputs) -> Tensor:
        if inputs.row_state_Q is not None:
            return inputs.row_state_Q
        return inputs.scores_QC.new_full((inputs.scores_QC.shape[0],), self.lambda_, dtype=torch.float64)
