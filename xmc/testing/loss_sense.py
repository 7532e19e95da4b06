"""That a loss teaches something, and the right way round: from scores, from negatives too, in float32, of a sample."""

from __future__ import annotations

import itertools
from dataclasses import replace

import torch
from torch import Tensor

from xmc.api import Loss
from xmc.testing.conformance import expect
from xmc.testing.global_state import left_alone
from xmc.testing.loss_cases import (
    LABELS,
    QUERIES,
    differ,
    example_relevance,
    example_scores,
    example_teacher,
    inputs_of,
    value,
    value_and_gradient,
)


def it_teaches(loss: Loss) -> None:
    """Another value where scores change places, a lower one where the only positive is best, higher where it is not."""
    value_Q, other_Q = (value(loss, example_scores().roll(by, 1), example_relevance()) for by in (0, 1))
    expect(differ(value_Q, other_Q, 1e-9), loss, "the value depends on the scores", value=value_Q)
    relevance_QC = example_relevance(positives=1)
    worst_Q, best_Q = (
        value(loss, example_scores().masked_fill(relevance_QC > 0, at), relevance_QC) for at in (-30.0, 30.0)
    )
    lower = (best_Q < worst_Q).all() or "higher_positive_is_better" in getattr(loss, "disclaims", ())
    expect(lower, loss, "raising the only positive's score lowers the loss", at_minus_30=worst_Q, at_30=best_Q)
    before_Q, *_, after_Q = with_a_rising_negative(loss)
    rises = (after_Q > before_Q + 1e-9).any()
    expect(rises, loss, "raising the best negative's score raises the loss", before=before_Q, after=after_Q)


def it_answers_the_same_again(loss: Loss) -> None:
    """No chance and no memory of calls: a resumed run would learn something else."""
    value_Q, again_Q = (value(loss, example_scores(), example_relevance()) for _ in range(2))
    expect(torch.equal(value_Q, again_Q), loss, "called twice it answers the same", first=value_Q, second=again_Q)


def it_leaves_the_rest_alone(loss: Loss) -> None:
    """Nothing that belongs to the whole program is another after a call."""
    with left_alone(loss):
        value_and_gradient(loss, example_scores(), example_relevance())


def few_labels_are_enough(loss: Loss) -> None:
    """One label or two, relevant or not: as many values and gradients as ever, all of them finite."""
    for labels in (1, 2):
        case = [each_QC[:, :labels] for each_QC in (example_scores(), example_teacher())]
        for relevant in range(labels + 1):
            relevance_QC = (torch.arange(labels) < relevant).double().expand(QUERIES, labels)
            value_Q, gradient_QC = value_and_gradient(loss, case[0], relevance_QC, case[1])
            fine = value_Q.shape == (QUERIES,) and value_Q.isfinite().all() and gradient_QC.isfinite().all()
            promise = f"finite where labels = {labels}, of which relevant = {relevant}"
            expect(fine, loss, promise, value=value_Q, gradient=gradient_QC)


def raising_the_best_negative_never_helps(loss: Loss) -> None:
    """A negative that scores above all other labels, the only positive next, rises further: no loss falls.

    Elsewhere that is not promised: a teacher may like a negative, losses made of squares pull low scores up, and the
    z-loss counts in standard deviations, in which a positive below the mean comes nearer to it.
    """
    for before_Q, after_Q in itertools.pairwise(with_a_rising_negative(loss)):
        fine = (after_Q >= before_Q - 1e-9).all()
        expect(fine, loss, "raising the best negative's score must not lower the loss", before=before_Q, after=after_Q)


def with_a_rising_negative(loss: Loss) -> list[Tensor]:
    """The values of the example with one positive, as the best negative rises above it."""
    relevance_QC = example_relevance(positives=1)
    top_Q1 = example_scores().max(dim=1, keepdim=True).values
    scores_QC = torch.where(relevance_QC > 0, top_Q1, example_scores())
    best_Q1 = scores_QC.masked_fill(relevance_QC > 0, -torch.inf).argmax(dim=1, keepdim=True)
    return [value(loss, scores_QC.scatter(1, best_Q1, top_Q1 + rise), relevance_QC) for rise in (1, 2, 4, 8)]


def float32_is_near_float64(loss: Loss) -> None:
    """Value and gradient of the precision in which losses are trained."""
    true_Q, true_QC = value_and_gradient(loss, example_scores(), example_relevance())
    value_Q, gradient_QC = value_and_gradient(loss, example_scores().float(), example_relevance())
    expect(not differ(value_Q, true_Q, 1e-3), loss, "float32 is near float64", value=value_Q, true=true_Q)
    near = not differ(gradient_QC, true_QC, 1e-3)
    expect(near, loss, "the gradient in float32 is near that in float64", gradient=gradient_QC, true=true_QC)


def sampled_labels_are_taken(loss: Loss) -> None:
    """Labels that were drawn: finite values and gradients; of probability 1 they count as if all were scored."""
    relevance_QC = example_relevance()
    drawn_C = torch.linspace(-3, 0, LABELS, dtype=torch.float64).masked_fill((relevance_QC > 0).any(dim=0), 0.0)
    for dtype in (torch.float32, torch.float64):
        leaf_QC = example_scores().to(dtype).requires_grad_()
        inputs = inputs_of(loss, leaf_QC, relevance_QC.to(dtype))
        given_C = drawn_C.to(dtype, copy=True)
        value_Q = loss(replace(inputs, log_inclusion_C=given_C))
        same = torch.equal(given_C, drawn_C.to(dtype))  # all parts of a batch are given the same
        expect(same, loss, "log_inclusion_C is not written into", before=drawn_C, after=given_C)
        (gradient_QC,) = torch.autograd.grad(value_Q.sum(), leaf_QC)
        expect(value_Q.shape == (QUERIES,), loss, "one value per query of sampled labels", shape=tuple(value_Q.shape))
        finite = value_Q.isfinite().all() and gradient_QC.isfinite().all()
        expect(finite, loss, "finite with sampled labels", value=value_Q, gradient=gradient_QC)
    certain = replace(inputs_of(loss, example_scores(), relevance_QC), log_inclusion_C=torch.zeros_like(drawn_C))
    all_Q, certain_Q = value(loss, example_scores(), relevance_QC), loss(certain)
    same = not differ(all_Q, certain_Q, 1e-9)
    expect(same, loss, "labels drawn with probability 1 count as all labels", all=all_Q, drawn=certain_Q)
