"""That a loss makes sound use of what it `needs` beside scores and positives: a teacher, or lengths of embeddings."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from xmc.api import Loss, LossInputs
from xmc.testing.conformance import expect
from xmc.testing.loss_cases import (
    LABELS,
    QUERIES,
    differ,
    example_relevance,
    example_scores,
    example_teacher,
    inputs_of,
    value,
)

NEEDS = ("moments", "norms", "teacher")
STEP = 1e-5


def a_needed_teacher_matters(loss: Loss) -> None:
    """Another teacher, another value; what it said is not written into."""
    if "teacher" not in getattr(loss, "needs", ()):
        return
    value_Q = value(loss, example_scores(), example_relevance())
    other_Q = value(loss, example_scores(), example_relevance(), -example_teacher())
    expect(differ(value_Q, other_Q, 1e-9), loss, "another teacher teaches something else", value=value_Q)
    inputs = inputs_of(loss, example_scores(), example_relevance())
    given = inputs.teacher
    assert given is not None  # `inputs_of` gives one
    before_T = given.scores_T.clone()
    loss(inputs)
    same = torch.equal(given.scores_T, before_T)
    expect(same, loss, "the teacher's scores are not written into", before=before_T, after=given.scores_T)


def needed_norms_are_taken(loss: Loss) -> None:
    """Lengths of embeddings: finite values, and a gradient in those of the queries that is the slope."""
    if "norms" not in getattr(loss, "needs", ()):
        return
    norms_Q = torch.linspace(0.5, 3.0, QUERIES, dtype=torch.float64).requires_grad_()
    value_Q = loss(_with_norms(loss, norms_Q))
    expect(value_Q.isfinite().all(), loss, "finite with the lengths of embeddings", value=value_Q)
    (told_Q,) = torch.autograd.grad(value_Q.sum(), norms_Q, allow_unused=True)
    ahead, behind = (loss(_with_norms(loss, norms_Q.detach() + step)).detach() for step in (STEP, -STEP))
    slope_Q = (ahead - behind) / (2 * STEP)
    gradient_Q = torch.zeros_like(slope_Q) if told_Q is None else told_Q
    same = not differ(gradient_Q, slope_Q, 1e-6) or "gradient_is_the_slope" in getattr(loss, "disclaims", ())
    expect(same, loss, "the gradient in the queries' lengths is the slope", gradient=gradient_Q, slope=slope_Q)


def _with_norms(loss: Loss, norms_Q: Tensor) -> LossInputs:
    norms_C = torch.linspace(0.7, 2.0, LABELS, dtype=torch.float64)
    inputs = inputs_of(loss, example_scores().requires_grad_(), example_relevance())
    return replace(inputs, query_norms_Q=norms_Q, label_norms_C=norms_C)
