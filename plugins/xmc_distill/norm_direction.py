"""ND: a query's embedding is pulled to the direction of its positives' vectors, and until it is as long as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xmc.api import LossInputs, require_at_least, require_positive
from xmc_distill.base_loss import log_shares


@dataclass(frozen=True)
class NormDirection:
    """base · (decoupled softmax) + weight · ND.

    ND = mean over the positives p of 1 − ⟨s, c_p / ‖c_p‖⟩ / max(‖s‖, ‖c_p‖).

    s is the query's embedding, c_p the vector of a positive label: under the head `frozen` that of the teacher, which
    stays; labels that learn are drawn along s as well, their lengths taken as constant. A query shorter than c_p has
    the gradient −c_p / ‖c_p‖², which makes it longer along c_p; a longer one is only turned. ND lies in [0, 2] and is 0
    where they are aligned and the query is no shorter. With embeddings of length 1 (cosine) it is 1 − the cosine.

    The paper has the class mean of the teacher's features for c, and max(‖s‖, ‖the teacher's feature‖); here a label's
    own vector is both. A query without positives gives 0. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when the temperature is not a finite number above 0, or a weight is below 0.
    Reference: Wang et al., Improving Knowledge Distillation via Regularizing Feature Norm and Direction, 2023.

    >>> import torch
    >>> inputs = LossInputs.from_dense(torch.tensor([[0.75, 0.5]]), torch.tensor([[1.0, 0.0]]))
    >>> NormDirection(base=0.0)(inputs).item()  # 1 - cosine
    0.25
    """

    temperature: float = 1.0
    base: float = 1.0
    weight: float = 1.0

    needs: ClassVar[frozenset[str]] = frozenset({"norms"})
    claims: ClassVar[frozenset[str]] = frozenset({"positives_do_not_compete", "skips_labels"})

    def __post_init__(self) -> None:
        require_positive(self, "temperature")
        require_at_least(0, self, "base", "weight")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        loss_P = self.weight * norm_direction(inputs)
        if self.base:
            loss_P = loss_P - self.base * log_shares(inputs, self.temperature)
        return inputs.sum_over_positives(loss_P, mean=True)


def norm_direction(inputs: LossInputs) -> Tensor:
    """1 − ⟨s, c / ‖c‖⟩ / max(‖s‖, ‖c‖) of each pair of a query s and its positive c, (P,)."""
    rows_P, columns_P = inputs.positive_rows_P, inputs.positive_columns_P
    scores_P = inputs.scores_QC[rows_P, columns_P].to(inputs.working_dtype)
    if inputs.query_norms_Q is None or inputs.label_norms_C is None:
        return 1 - scores_P
    tiny = torch.finfo(scores_P.dtype).tiny ** 0.5
    label_P = inputs.label_norms_C[columns_P].to(scores_P.dtype).clamp(min=tiny)
    return 1 - scores_P / label_P / torch.maximum(inputs.query_norms_Q[rows_P].to(scores_P.dtype), label_P)
