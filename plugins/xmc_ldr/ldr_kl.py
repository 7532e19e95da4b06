"""LDR-KL: the worst mean violation over distributions on the negatives that stay near the uniform one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.api import LossInputs, require_at_least, require_positive


@dataclass(frozen=True)
class LdrKl:
    """The weighted mean over the positives p of λ · log of the mean over {p} and the negatives of exp(violation / λ).

    The violation of a negative n is s_n − s_p + margin, that of p itself 0; s are the raw scores, so λ (`lambda_`) acts
    as the temperature. Equal to max over distributions d on these 1 + N labels of Σ d · violation − λ KL(d ‖ uniform).
    λ → 0 is the hinge on the hardest negative, λ → ∞ the mean violation; at λ = 1 without margin it is the decoupled
    softmax less log(1 + N). So it may be negative; at equal scores without margin it is 0. N counts the negatives among
    the scored labels. A query without positives, or without negatives, gives 0. Differentiable once. In float32 the
    value is known to about λ · 10⁻⁶ only, which matters for a λ of a hundred and more; the gradient does not suffer.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when `lambda_` is not a finite number above 0 or the margin not one from 0 up.
    Reference: Zhu, Ying, Yang, Label Distributionally Robust Losses, ICML 2023; several positives are our extension.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[1.0, 0.5, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    >>> [round(LdrKl(lambda_=value, margin=0.6)(inputs).item(), 3) for value in (0.001, 1.0, 1000.0)]
    [0.099, -0.243, -0.433]
    """

    lambda_: float = 1.0
    margin: float = 0.0

    claims: ClassVar[frozenset[str]] = frozenset({"shift_invariant", "positives_do_not_compete", "skips_labels"})

    def __post_init__(self) -> None:
        require_positive(self, "lambda_")
        require_at_least(0, self, "margin")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        return ldr_kl(inputs, self.lambda_, self.margin)


def ldr_kl(inputs: LossInputs, lambda_: float | Tensor, margin: float) -> Tensor:
    """The formula of `LdrKl` with one λ, or one for each query, (Q,), which is taken as constant.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[1.0, 0.5, -1.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    >>> round(ldr_kl(inputs, torch.tensor([1.0]), 0.6).item(), 3)
    -0.243
    """
    rows_P = inputs.positive_rows_P
    logits_P, log_negatives_Q = inputs.log_sum_exp("negatives", temperature=lambda_)
    if isinstance(lambda_, Tensor):
        lambda_ = lambda_.to(logits_P.dtype)
    asked_P = margin / (lambda_[rows_P] if isinstance(lambda_, Tensor) else lambda_)
    log_sum_P = -logsigmoid(logits_P - log_negatives_Q[rows_P] - asked_P)
    competitors_Q = (1 + inputs.negative_counts_Q).to(log_sum_P.dtype)
    return lambda_ * inputs.sum_over_positives(log_sum_P - competitors_Q.log()[rows_P], mean=True)
