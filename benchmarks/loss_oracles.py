"""The losses as their formulas read: dense, in float64, by autograd; slow, and independent of xmc's way of computing.

Each takes scores (Q, C) and relevance (Q, C), 0 for a negative, and answers one value per query. Every query has a
positive and a negative.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

Oracle = Callable[[Tensor, Tensor], Tensor]


def log1pexp(x: Tensor) -> Tensor:
    """log(1 + exp(x)), also for large x."""
    return torch.logaddexp(x, torch.zeros_like(x))


def by_positive(value: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Oracle:
    """The weighted mean over the positives of value(scores of the positives, of the negatives, of all)."""

    def oracle(scores_QC: Tensor, relevance_QC: Tensor) -> Tensor:
        values = []
        for row_C, weights_C in zip(scores_QC, relevance_QC, strict=True):
            positive_C = weights_C > 0
            values_P = value(row_C[positive_C], row_C[~positive_C], row_C)
            values.append((weights_C[positive_C] * values_P).sum() / weights_C[positive_C].sum())
        return torch.stack(values)

    return oracle


def ldr_kl(positives_P: Tensor, negatives_N: Tensor, _: Tensor) -> Tensor:
    violations_PN = torch.cat([torch.zeros(len(positives_P), 1), negatives_N - positives_P.unsqueeze(1)], dim=1)
    return violations_PN.logsumexp(dim=1) - torch.tensor(violations_PN.shape[1], dtype=torch.float64).log()


def soft_top_k(positives_P: Tensor, _: Tensor, row_C: Tensor, *, k: int = 5, alpha: float = 2.0) -> Tensor:
    """The threshold by bisection, on the logs of what the k best lack and of what the others have, and its derivative.

    Σ σ = k says that the two are equal; their logs also tell them apart where both are too small to change a sum.
    """
    best_C = (alpha * row_C.detach()).sort(descending=True).values
    low, high = -best_C[0] - 50, -best_C[-1] + 50
    for _ in range(200):
        middle = (low + high) / 2
        lacking = functional.logsigmoid(-best_C[:k] - middle).logsumexp(dim=0)
        had = functional.logsigmoid(best_C[k:] + middle).logsumexp(dim=0)
        low, high = (low, middle) if had > lacking else (middle, high)
    z_C = alpha * row_C.detach() + low
    share_C = (functional.logsigmoid(z_C) + functional.logsigmoid(-z_C)).softmax(dim=0)
    threshold = low - (share_C * (alpha * row_C - alpha * row_C.detach())).sum()
    return log1pexp(-(alpha * positives_P + threshold))


def z_loss(positives_P: Tensor, _: Tensor, row_C: Tensor) -> Tensor:
    centred_C = row_C - row_C.mean()
    return log1pexp(-(positives_P - row_C.mean()) / centred_C.square().mean().sqrt())


def softmax_of(weight: Callable[[Tensor], Tensor]) -> Oracle:
    """−log of a positive's share of the sum of weight(score)."""
    return by_positive(lambda positives_P, _, row_C: weight(row_C).sum().log() - weight(positives_P).log())


def mann_whitney(scores_QC: Tensor, relevance_QC: Tensor, *, temperature: float = 0.05) -> Tensor:
    negatives = scores_QC[relevance_QC == 0]
    values = []
    for row_C, weights_C in zip(scores_QC, relevance_QC, strict=True):
        terms = [
            weight * log1pexp((negatives - positive) / temperature).mean()
            for positive, weight in zip(row_C[weights_C > 0], weights_C[weights_C > 0], strict=True)
        ]
        values.append(torch.stack(terms).sum())
    return torch.stack(values) * len(scores_QC) / relevance_QC.sum()


def binary_cross_entropy(scores_QC: Tensor, relevance_QC: Tensor) -> Tensor:
    terms_QC = torch.where(relevance_QC > 0, relevance_QC * log1pexp(-scores_QC), log1pexp(scores_QC))
    return terms_QC.mean(dim=1)


ORACLES: dict[str, Oracle] = {
    "baselines.binary-cross-entropy": binary_cross_entropy,
    "baselines.info-nce": by_positive(lambda positives_P, _, row_C: row_C.logsumexp(dim=0) - positives_P),
    "dexml.decoupled-softmax": by_positive(
        lambda positives_P, negatives_N, _: log1pexp(negatives_N.logsumexp(dim=0) - positives_P)
    ),
    "dexml.soft-top-k": by_positive(soft_top_k),
    "ldr.aldr-kl": by_positive(ldr_kl),  # at its start
    "ldr.ldr-kl": by_positive(ldr_kl),
    "mw.mann-whitney": mann_whitney,
    "zloss.sparse-mse": lambda scores_QC, relevance_QC: (scores_QC - relevance_QC).square().sum(dim=1),
    "zloss.spherical-softmax": softmax_of(lambda o: o.square() + 0.01),
    "zloss.taylor-softmax": softmax_of(lambda o: 1 + o + o.square() / 2),
    "zloss.z-loss": by_positive(z_loss),
}
