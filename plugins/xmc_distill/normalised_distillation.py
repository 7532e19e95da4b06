"""NKD: what the teacher says of the positives, and how it orders the rest of its shortlist, each for itself.

Shapes: Q queries, P (query, positive) pairs, T pairs of the teacher's shortlists, N those without the positives.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from xmc.api import ConfigError, LossInputs, TeacherScores, require_at_least, require_positive
from xmc_distill.base_loss import log_shares
from xmc_distill.norm_direction import norm_direction


@dataclass(frozen=True)
class NormalisedDistillation:
    """base · (decoupled softmax over all scored labels) + weight · NKD + direction · ND (see `NormDirection`).

    NKD = mean over the positives p of −t_p log s_p, minus gamma · T² · Σ over n of t̂_n log ŝ_n. The labels n are those
    of the teacher's shortlist that are not positives. t_p is the share of p in the teacher's softmax over p and the n
    alone, s_p the student's. «Normalised»: t̂ and ŝ are softmaxes over the n only, at temperature T (`softening`), so
    that each adds up to 1 whatever the positives have; plain distillation ties the two, and no student can match both
    unless s_p = t_p. T² keeps the gradient's size.

    The student's logit is score / temperature, the teacher's score / teacher_temperature: 1 for a cross-encoder's
    logits, about 0.05 for cosines. A query without a shortlist is trained by `base` and `direction` alone, one without
    positives gives 0. Differentiable once.

    Shapes: scores (Q, C) -> loss (Q,), float32 for half-precision scores.
    Raises: ValueError when a temperature is not a finite number above 0, or a weight is below 0; ConfigError without a
    teacher.
    Reference: Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with
    Normalized Loss and Customized Soft Labels, ICCV 2023.

    >>> from dataclasses import replace
    >>> inputs = LossInputs.from_dense(torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]]))
    >>> inputs = replace(inputs, teacher=TeacherScores.from_dense(torch.tensor([[100.0, 2.0, 2.0]])))
    >>> round(NormalisedDistillation(base=0.0, gamma=0.0)(inputs).exp().item(), 4)  # the cross entropy: 1 + 2 / e
    1.7358
    """

    temperature: float = 1.0
    teacher_temperature: float = 1.0
    softening: float = 1.0
    gamma: float = 1.5
    base: float = 1.0
    weight: float = 1.0
    direction: float = 0.0

    needs: ClassVar[frozenset[str]] = frozenset({"teacher", "norms"})
    claims: ClassVar[frozenset[str]] = frozenset({"positives_do_not_compete", "skips_labels"})

    def __post_init__(self) -> None:
        require_positive(self, "temperature", "teacher_temperature", "softening")
        require_at_least(0, self, "gamma", "base", "weight", "direction")

    def __call__(self, inputs: LossInputs) -> Tensor:
        """The value of each query, (Q,)."""
        if inputs.teacher is None:
            raise ConfigError(
                "the loss distill.nkd learns from a teacher's scores, and there are none.",
                hint="Set teacher.path to what `xmc teach` wrote.",
            )
        target_P, others_Q = self._distilled(inputs, inputs.teacher)
        loss_P = self.weight * target_P
        if self.base:
            loss_P = loss_P - self.base * log_shares(inputs, self.temperature)
        if self.direction:
            loss_P = loss_P + self.direction * norm_direction(inputs)
        return inputs.sum_over_positives(loss_P, mean=True) + self.weight * others_Q

    def _distilled(self, inputs: LossInputs, teacher: TeacherScores) -> tuple[Tensor, Tensor]:
        """−t_p log s_p of each positive, (P,), and the part of the others of each query, (Q,), 0 without positives."""
        queries, rows_P = inputs.scores_QC.shape[0], inputs.positive_rows_P
        keys_P, keys_T, other_N = _keys(inputs, teacher)
        rows_N, columns_N = teacher.rows_T[other_N], teacher.columns_T[other_N]
        dtype = inputs.working_dtype
        teacher_T = teacher.scores_T.to(dtype) / self.teacher_temperature
        teacher_N = teacher_T[other_N]
        student_N = inputs.scores_QC[rows_N, columns_N].to(dtype) / self.temperature
        student_P = inputs.scores_QC[rows_P, inputs.positive_columns_P].to(dtype) / self.temperature

        share_P = logsigmoid(student_P - log_sums(student_N, rows_N, queries)[rows_P])
        logit_P, known_P = _at(keys_P, keys_T, teacher_T)
        weight_P = torch.sigmoid(logit_P - log_sums(teacher_N, rows_N, queries)[rows_P])
        target_P = -share_P * weight_P.where(known_P, torch.zeros_like(weight_P))

        soft_N = _log_softmax(teacher_N / self.softening, rows_N, queries).exp()
        log_N = _log_softmax(student_N / self.softening, rows_N, queries)
        others_Q = -log_N.new_zeros(queries).index_add(0, rows_N, soft_N * log_N)
        has_positive_Q = torch.zeros_like(others_Q).index_fill(0, rows_P, 1.0)
        return target_P, self.gamma * self.softening**2 * has_positive_Q * others_Q


def _keys(inputs: LossInputs, teacher: TeacherScores) -> tuple[Tensor, Tensor, Tensor]:
    """One number for each positive (P,) and each pair of the shortlists (T,), and which of these are negatives (T,)."""
    labels = inputs.scores_QC.shape[1]
    keys_P = inputs.positive_rows_P * labels + inputs.positive_columns_P
    keys_T = teacher.rows_T * labels + teacher.columns_T
    other_N = ~torch.isin(keys_T, keys_P)
    if inputs.skipped_rows_S is not None and inputs.skipped_columns_S is not None:
        other_N &= ~torch.isin(keys_T, inputs.skipped_rows_S * labels + inputs.skipped_columns_S)
    return keys_P, keys_T, other_N


def _at(keys_P: Tensor, keys_T: Tensor, values_T: Tensor) -> tuple[Tensor, Tensor]:
    """The value of each of these pairs, (P,), and whether the (sorted) pairs have it, (P,) bool."""
    keys_T, values_T = torch.cat((keys_T, keys_T.new_full((1,), -1))), torch.cat((values_T, values_T.new_zeros(1)))
    place_P = torch.searchsorted(keys_T[:-1], keys_P)
    return values_T[place_P], keys_T[place_P] == keys_P


def _log_softmax(logits_N: Tensor, rows_N: Tensor, queries: int) -> Tensor:
    return logits_N - log_sums(logits_N, rows_N, queries)[rows_N]


def log_sums(logits_N: Tensor, rows_N: Tensor, queries: int) -> Tensor:
    """log Σ exp(logit) over the pairs of each query, (Q,); −inf for a query without any.

    >>> log_sums(torch.zeros(3), torch.tensor([0, 2, 2]), 3)
    tensor([0.0000,   -inf, 0.6931])
    """
    largest_Q = logits_N.detach().new_zeros(queries)
    largest_Q = largest_Q.scatter_reduce(0, rows_N, logits_N.detach(), "amax", include_self=False)
    sums_Q = logits_N.new_zeros(queries).index_add(0, rows_N, (logits_N - largest_Q[rows_N]).exp())
    return sums_Q.log() + largest_Q
