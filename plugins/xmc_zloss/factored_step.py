"""One exact step of plain SGD on a factored label matrix, at a cost in which the number of labels does not occur.

Shapes: Q queries, L labels, D width, T labels among the positives.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xmc.api import ConfigError
from xmc_zloss.factored_batch import FactoredBatch, ScoreStatistics
from xmc_zloss.stabilisation import is_strained, stabilise

SMALLEST = 1e-12  # of T's eigenvalues, by absolute value: U must stay invertible


def sgd_step(
    batch: FactoredBatch, gradient: ScoreStatistics, *, learning_rate: float, weight_decay: float = 0.0
) -> None:
    """W ← (1 − ηλ) W − η ∂loss/∂W, for a loss of the scores' statistics only; η learning rate, λ weight decay.

    With H the queries, C = diag(2/L · ∂/∂variance), Y (L x Q, sparse) the gradients of the scores of the positives,
    w̄ the mean and S the centred Gram matrix of the rows of W, and T = (1 − ηλ) I − η HᵀCH:

        U ← U T     V ← V − η Y H U⁻¹ (the new U; rows without a positive stay)
        w ← (1 − ηλ) w − η (Hᵀ ∂/∂mean / L + HᵀCH (w − w̄))
        w̄ ← (1 − ηλ) w̄ − η (Hᵀ ∂/∂mean / L + r / L),   r = HᵀYᵀ1
        S ← T S T − η (X + Xᵀ) + η² (HᵀYᵀYH − r rᵀ / L),   X = T (YᵀW − Yᵀ1 w̄ᵀ)ᵀ H

    Where T has an eigenvalue below 0 the step goes past the minimum, as plain SGD does at a high rate; below −(1 − ηλ)
    it lands farther away than it was. Nothing is changed when it raises.
    Raises: ConfigError in that last case, with the rate below which it would be well.
    Reference: Vincent, de Brébisson and Bouthillier 2015; the centred form is this project's.
    """
    matrix, queries_QD = batch.matrix, batch.queries_QD
    rate, keep, labels = learning_rate, 1 - learning_rate * weight_decay, matrix.labels
    curved_DD = (queries_QD * (gradient.variance_Q * (2 / labels)).unsqueeze(1)).T @ queries_QD
    factor_DD, factor_inverse_DD = _factor(curved_DD, keep, rate)
    own_TD = batch.sum_to_labels(gradient.scores_P, queries_QD)
    own_sum_D = own_TD.sum(dim=0)
    common_D = queries_QD.T @ (gradient.mean_Q / labels)
    matrix.gram_DD = _next_gram(batch, gradient.scores_P, factor_DD, own_TD, rate)
    matrix.shift_D = keep * matrix.shift_D - rate * (common_D + curved_DD @ (matrix.shift_D - matrix.mean_D))
    matrix.mean_D = keep * matrix.mean_D - rate * (common_D + own_sum_D / labels)
    matrix.mixing_DD = matrix.mixing_DD @ factor_DD
    matrix.inverse_DD = factor_inverse_DD @ matrix.inverse_DD
    if is_strained(matrix):  # before V gets the new rows: an ill-conditioned U would make them too large for float32
        stabilise(matrix)
    change_TD = batch.sum_to_labels(gradient.scores_P, queries_QD @ matrix.inverse_DD)
    table_TD = matrix.table_LD[batch.labels_T].double() - rate * change_TD
    matrix.table_LD.index_copy_(0, batch.labels_T, table_TD.to(matrix.table_LD.dtype))


def _next_gram(batch: FactoredBatch, weights_P: Tensor, factor_DD: Tensor, own_TD: Tensor, rate: float) -> Tensor:
    matrix, queries_QD = batch.matrix, batch.queries_QD
    weight_Q = weights_P.new_zeros(len(queries_QD)).index_add_(0, batch.query_rows_P, weights_P)
    centred_QD = batch.sum_to_queries(weights_P) - torch.outer(weight_Q, matrix.mean_D)
    own_sum_D = own_TD.sum(dim=0)
    cross_DD = factor_DD @ (centred_QD.T @ queries_QD)
    gram_DD = factor_DD @ matrix.gram_DD @ factor_DD
    gram_DD -= rate * (cross_DD + cross_DD.T)
    gram_DD += rate**2 * (own_TD.T @ own_TD - torch.outer(own_sum_D, own_sum_D) / matrix.labels)
    return (gram_DD + gram_DD.T) / 2


def _factor(curved_DD: Tensor, keep: float, rate: float) -> tuple[Tensor, Tensor]:
    """T = keep · I − rate · curved, and its inverse."""
    if keep <= 0:
        raise ConfigError(
            f"learning_rate x weight_decay must stay below 1, got {1 - keep:g}.", hint="Lower one of the two."
        )
    factor_DD = -rate * curved_DD
    factor_DD.diagonal().add_(keep)
    cholesky_DD, failed_at = torch.linalg.cholesky_ex(factor_DD)
    if not bool(failed_at) and bool(cholesky_DD.diagonal().amin().square() > SMALLEST * keep):
        return factor_DD, torch.cholesky_inverse(cholesky_DD)
    return _indefinite_factor(factor_DD, keep, rate)


def _indefinite_factor(factor_DD: Tensor, keep: float, rate: float) -> tuple[Tensor, Tensor]:
    """T when the step goes past the minimum in some direction, as plain SGD may; what it all but wipes out stays."""
    values_D, vectors_DD = torch.linalg.eigh(factor_DD)
    lowest = float(values_D[0])
    if lowest < -keep:
        steepest, decay = (keep - lowest) / rate, (1 - keep) / rate
        raise ConfigError(
            f"a step of the factored head overshoots more than twofold, so that training would diverge: its learning "
            f"rate is {rate:g}, and for this batch it must stay below {2 / (steepest + 2 * decay):.3g}.",
            hint="Lower [head] learning_rate, or use shorter (normalised) query embeddings.",
        )
    smallest = SMALLEST * keep
    values_D = values_D.where(values_D.abs() > smallest, torch.full_like(values_D, smallest))
    return (vectors_DD * values_D) @ vectors_DD.T, (vectors_DD / values_D) @ vectors_DD.T
