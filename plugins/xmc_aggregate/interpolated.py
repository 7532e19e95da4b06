"""Interpolated loss: between the loss of a bag's mean answer and the mean loss of its answers, over any base loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from xmc.api import Loss, LossInputs, query_losses, require_share
from xmc_aggregate.base_loss import base_loss


@dataclass(frozen=True)
class Interpolated:
    """(1 − rho) · base(bag's label, bag's mean answer) + rho · mean over the bag of base(bag's label, own answer).

    For queries in bags of which only a common label is known: the mean of the queries' labels, as weights of the
    positives in each of their rows. `rho` = 0 is the bag-level loss: it asks that the answers be right on average, and
    learns what tells the queries of a bag apart from other bags alone. `rho` = 1 is the instance-level loss: it asks
    that each answer be that of its bag, is biased towards equal answers and far less noisy. For the square loss the
    value is exactly bag level + rho · variance of the answers within the bag; choose `rho` by the dev split.

    `average`: the mean answer is that of the `scores`, or temperature · log of the mean of the `probabilities`
    softmax(scores / temperature), with the temperature of the base loss (1 if it has none); this one needs a base loss
    that is blind to a number added to all scores. `base` is the full name of a loss, `base_options` are its options.

    The value of a query is that of its bag's first part plus its own second part, so that the mean over the queries is
    the mean over bags, each weighted by its size. Without bags each query is a bag of its own, and every `rho` is the
    base loss (for `scores` to the bit).

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when an option is outside its range, or the base loss cannot be used; PluginError for what the
    base loss answers, as for a loss of its own.
    Reference: Javanmard et al., ICLR 2024, sections 2 and 3.

    >>> scores_QC, label_QC = torch.tensor([[3.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    >>> inputs = replace(LossInputs.from_dense(scores_QC, label_QC), bags_Q=torch.tensor([0, 0]))
    >>> [round(Interpolated(rho=rho, base_options={})(inputs).mean().item(), 3) for rho in (0.0, 1.0)]
    [0.693, 1.549]
    """

    rho: float = 0.5
    average: Literal["probabilities", "scores"] = "probabilities"
    base: str = "baselines.info-nce"
    base_options: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0.05})

    def __post_init__(self) -> None:
        require_share(self, "rho")
        if self.average not in ("probabilities", "scores"):
            raise ValueError(f"average must be 'probabilities' or 'scores', got {self.average!r}")
        shift_invariant = "shift_invariant" in getattr(self._loss, "claims", ())
        if self.average == "probabilities" and not shift_invariant:
            raise ValueError(f"average 'probabilities' is for softmax losses, with {self.base!r} use 'scores'")

    @cached_property
    def _loss(self) -> Loss:
        return base_loss(self.base, self.base_options)

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        if self.rho == 1:
            return self._values(inputs)
        bag_Q = self._bag_level(inputs)
        return bag_Q if self.rho == 0 else (1 - self.rho) * bag_Q + self.rho * self._values(inputs)

    def _values(self, inputs: LossInputs) -> Tensor:
        """What the base loss answers, checked as that of a training is."""
        return query_losses(self._loss, inputs, queries=len(inputs.scores_QC), gradient=False)

    def _bag_level(self, inputs: LossInputs) -> Tensor:
        if inputs.bags_Q is None:
            rows_Q = torch.arange(len(inputs.scores_QC), device=inputs.scores_QC.device)
            return self._values(replace(inputs, scores_QC=self._means(inputs.scores_QC, rows_Q, len(rows_Q))))
        _, bag_Q = inputs.bags_Q.unique(return_inverse=True)
        bags = int(bag_Q.max()) + 1
        means_AC = self._means(inputs.scores_QC, bag_Q, bags)
        return self._values(_bag_inputs(inputs, means_AC, bag_Q))[bag_Q]

    def _means(self, scores_QC: Tensor, bag_Q: Tensor, bags: int) -> Tensor:
        """The mean answer of each bag, (A, C)."""
        sizes_A1 = bag_Q.bincount(minlength=bags).unsqueeze(1)
        if scores_QC.dtype in (torch.float16, torch.bfloat16):
            scores_QC = scores_QC.float()
        zero_AC = scores_QC.new_zeros(bags, scores_QC.shape[1])
        if self.average == "scores":
            return zero_AC.index_add(0, bag_Q, scores_QC) / sizes_A1
        temperature = float(getattr(self._loss, "temperature", 1.0))
        logs_QC = (scores_QC / temperature).log_softmax(dim=1)
        place_QC = bag_Q.unsqueeze(1).expand_as(logs_QC)
        top_AC = zero_AC.scatter_reduce(0, place_QC, logs_QC.detach(), "amax", include_self=False)
        sums_AC = zero_AC.index_add(0, bag_Q, (logs_QC - top_AC[bag_Q]).exp())
        return temperature * (top_AC + (sums_AC / sizes_A1).log())


def _bag_inputs(inputs: LossInputs, means_AC: Tensor, bag_Q: Tensor) -> LossInputs:
    """One row a bag: its mean answer, and the positives of the first of its queries, which are those of all."""
    rows_Q = torch.arange(len(bag_Q), device=bag_Q.device)
    first_A = rows_Q.new_full((len(means_AC),), len(bag_Q)).scatter_reduce(0, bag_Q, rows_Q, "amin")
    of_first_P = first_A[bag_Q[inputs.positive_rows_P]] == inputs.positive_rows_P
    rows_P = bag_Q[inputs.positive_rows_P[of_first_P]]
    order_P = rows_P.argsort(stable=True)
    columns_P, weights_P = inputs.positive_columns_P[of_first_P], inputs.positive_weights_P[of_first_P]
    return LossInputs(means_AC, rows_P[order_P], columns_P[order_P], weights_P[order_P], inputs.log_inclusion_C)
