"""USKD: the model's own confidence weighs its positives, its own ranking is the soft label of the rest; no teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xmc.api import LossInputs, require_at_least, require_positive
from xmc_distill.base_loss import log_shares


@dataclass(frozen=True)
class SelfDistillation:
    """base · (decoupled softmax) + alpha · L_t + beta · L_n, of the model's own scores s = score / temperature.

    L_t = mean over the positives p of −w_p log s_p, with w_p = s_p² + 1 − the mean of s_p² over the batch: confident
    positives count more. L_n = −Σ over r of z_r log ŝ_r, over the `shortlist` best negatives of the query in order of
    their scores: z_r is proportional to 1 / r (Zipf), ŝ the softmax over them alone. Weights and ranks are constants.

    The paper ranks by the mean of the scores and those of a second classifier on an inner layer, which it trains with a
    small loss of its own. There is no such layer here, so the ranks are those of the scores.
    A query without positives gives 0. The batch is scored as a whole. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when the temperature is not a finite number above 0, a weight is below 0, or shortlist below 1.
    Reference: Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with
    Normalized Loss and Customized Soft Labels, ICCV 2023.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[9.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    >>> round(SelfDistillation(base=0.0, alpha=0.0, beta=1.0)(inputs).exp().item(), 4)  # two equal negatives
    2.0
    """

    temperature: float = 1.0
    base: float = 1.0
    alpha: float = 1.0
    beta: float = 0.1
    shortlist: int = 100

    claims: ClassVar[frozenset[str]] = frozenset({"shift_invariant", "positives_do_not_compete", "skips_labels"})
    disclaims: ClassVar[frozenset[str]] = frozenset({"gradient_is_the_slope"})

    def __post_init__(self) -> None:
        require_positive(self, "temperature")
        require_at_least(0, self, "base", "alpha", "beta")
        require_at_least(1, self, "shortlist")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        log_shares_P = log_shares(inputs, self.temperature)
        squares_P = log_shares_P.detach().exp().square()
        weights_P = squares_P + 1 - squares_P.mean()
        target_Q = inputs.sum_over_positives(-(self.base + self.alpha * weights_P) * log_shares_P, mean=True)
        has_positive_Q = (inputs.positive_weight_sum_Q > 0).to(target_Q.dtype)
        return target_Q + self.beta * has_positive_Q * self._others(inputs).to(target_Q.dtype)

    def _others(self, inputs: LossInputs) -> Tensor:
        """−Σ z_r log ŝ_r of each query, (Q,)."""
        scores_QC = inputs.scores_QC
        negatives_QC = scores_QC.detach().clone()
        negatives_QC[inputs.positive_rows_P, inputs.positive_columns_P] = -torch.inf
        if inputs.skipped_rows_S is not None:
            negatives_QC[inputs.skipped_rows_S, inputs.skipped_columns_S] = -torch.inf
        best_QM = negatives_QC.topk(min(self.shortlist, scores_QC.shape[1]), dim=1)
        there_QM = best_QM.values > -torch.inf
        logits_QM = scores_QC.gather(1, best_QM.indices).to(inputs.working_dtype) / self.temperature
        zipf_QM = zipf(logits_QM.shape[1]).to(logits_QM).expand_as(logits_QM) * there_QM
        zipf_QM = zipf_QM / zipf_QM.sum(dim=1, keepdim=True).clamp(min=torch.finfo(zipf_QM.dtype).tiny)
        log_QM = logits_QM.masked_fill(~there_QM, torch.finfo(logits_QM.dtype).min / 4).log_softmax(dim=1)
        return -(zipf_QM * log_QM.where(there_QM, torch.zeros_like(log_QM))).sum(dim=1)


def zipf(ranks: int) -> Tensor:
    """1 / r for r = 1, 2, …, divided by their sum, (ranks,) float64.

    >>> [round(share, 4) for share in zipf(9)[:3].tolist()]
    [0.3535, 0.1767, 0.1178]
    """
    shares = 1 / torch.arange(1, ranks + 1, dtype=torch.float64)
    return shares / shares.sum()
