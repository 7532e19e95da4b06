"""The small fixed problem on which the kit tries a loss: 6 queries, 12 labels, float64."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from xmc.api import Loss, LossInputs, TeacherScores

QUERIES, LABELS = 6, 12


def example_scores() -> Tensor:
    """Scores of both signs, (QUERIES, LABELS), the same at every call."""
    generator = torch.Generator().manual_seed(7)
    return 3.0 * torch.randn(QUERIES, LABELS, generator=generator, dtype=torch.float64)


def example_relevance(positives: int = 3) -> Tensor:
    """`positives` positives a query, weights 1 in the even queries and mixed in the odd ones."""
    generator = torch.Generator().manual_seed(11)
    ranks_QC = torch.rand(QUERIES, LABELS, generator=generator).argsort(dim=1)
    relevance_QC = (ranks_QC < positives).double()
    relevance_QC[1::2] *= 0.5 + ranks_QC[1::2]
    return relevance_QC


def uneven_relevance() -> Tensor:
    """No positive of the first query, one of the second, two of the third, …, with the weights of the example."""
    relevance_QC = example_relevance(positives=LABELS)
    return relevance_QC * (torch.arange(LABELS) < torch.arange(QUERIES).unsqueeze(1))


def example_teacher() -> Tensor:
    """A teacher's scores of a shortlist of each query, (QUERIES, LABELS), NaN where a label is not on it."""
    generator = torch.Generator().manual_seed(13)
    scores_QC = 2 * torch.randn(QUERIES, LABELS, generator=generator, dtype=torch.float64)
    return scores_QC.masked_fill(torch.rand(QUERIES, LABELS, generator=generator) < 0.25, torch.nan)


def inputs_of(loss: Loss, scores_QC: Tensor, relevance_QC: Tensor, teacher_QC: Tensor | None = None) -> LossInputs:
    """What the loss sees, with a teacher if it needs one (that of the example unless another is given)."""
    inputs = LossInputs.from_dense(scores_QC, relevance_QC)
    if "teacher" not in getattr(loss, "needs", ()):
        return inputs
    return replace(inputs, teacher=TeacherScores.from_dense(example_teacher() if teacher_QC is None else teacher_QC))


def value(loss: Loss, scores_QC: Tensor, relevance_QC: Tensor, teacher_QC: Tensor | None = None) -> Tensor:
    """The loss of each query, without a graph."""
    return loss(inputs_of(loss, scores_QC, relevance_QC, teacher_QC)).detach()


def value_and_gradient(
    loss: Loss, scores_QC: Tensor, relevance_QC: Tensor, teacher_QC: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of each query and the gradient of their sum in the scores."""
    leaf_QC = scores_QC.detach().clone().requires_grad_()
    loss_Q = loss(inputs_of(loss, leaf_QC, relevance_QC.to(leaf_QC.dtype), teacher_QC))
    (gradient_QC,) = torch.autograd.grad(loss_Q.sum(), leaf_QC)
    return loss_Q.detach(), gradient_QC


def differ(a: Tensor, b: Tensor, tolerance: float) -> bool:
    """Whether two tensors differ by more than `tolerance`, absolute and relative."""
    return not torch.allclose(a.double(), b.double(), rtol=tolerance, atol=tolerance)
