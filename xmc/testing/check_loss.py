"""What every loss of xmc must keep to; a plugin's whole test may be `check_loss(MyLoss())`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from xmc.api import Loss
from xmc.errors import did_you_mean
from xmc.loss_values import query_losses, require_gradient
from xmc.testing.conformance import ConformanceError, expect, keep_to, plain_options
from xmc.testing.loss_cases import (
    LABELS,
    QUERIES,
    differ,
    example_relevance,
    example_scores,
    example_teacher,
    inputs_of,
    uneven_relevance,
    value,
    value_and_gradient,
)
from xmc.testing.loss_claims import CLAIMS
from xmc.testing.loss_needs import NEEDS, a_needed_teacher_matters, needed_norms_are_taken
from xmc.testing.loss_row_state import row_state_is_sound
from xmc.testing.loss_sense import (
    few_labels_are_enough,
    float32_is_near_float64,
    it_answers_the_same_again,
    it_leaves_the_rest_alone,
    it_teaches,
    raising_the_best_negative_never_helps,
    sampled_labels_are_taken,
)


def check_loss(loss: Loss, *, pool: Literal["row", "batch"] = "row", teaches: bool = True) -> None:
    """Check the contract of a loss: values, gradients, corner cases, precision, configuration and what it claims.

    And that it leaves torch's random generator, default dtype, gradient mode and threads alone.

    `pool` is that of its LossSpec: the queries of a "row" loss must not influence each other. What a class claims
    beyond the contract stands in its attribute `claims`, a set of "shift_invariant" (adding a number to a query's
    scores changes nothing), "scale_invariant" (nor does multiplying them), "positives_do_not_compete" (the gradient on
    a positive is never above 0), "skips_labels" (a skipped label counts as if it were not there). A formula that cannot
    keep the promise that a higher score of the only positive never hurts says so in `disclaims`, a set holding
    "higher_positive_is_better", one that holds a part of itself constant "gradient_is_the_slope"; it is then checked
    that it does not keep it. Of a loss that keeps a number for each query (`RowStateLoss`) that number is checked too,
    and one that `needs` "norms" or a "teacher" is given them; the teacher has to matter. With `teaches=False` the loss
    need not rise or fall: for settings with which it is next to nothing on the twelve labels of the kit, or asks a
    teacher only.

    Raises: ConformanceError naming the loss, the promise and the numbers.

    >>> from xmc_dexml.decoupled_softmax import DecoupledSoftmax
    >>> check_loss(DecoupledSoftmax())
    """
    _check_contract(loss)
    if teaches:
        keep_to(it_teaches, loss, subject=loss)
    if pool == "row":
        keep_to(_queries_are_independent, loss, subject=loss)
    for claim in sorted(getattr(loss, "claims", frozenset())):
        if claim not in CLAIMS:
            raise ConformanceError(
                f"{loss}: unknown claim {claim!r}, known are {sorted(CLAIMS)}. {did_you_mean(claim, CLAIMS)}"
            )
        keep_to(CLAIMS[claim], loss, subject=loss)


def _check_contract(loss: Loss) -> None:
    for unknown in frozenset(getattr(loss, "needs", frozenset())) - {*NEEDS}:
        raise ConformanceError(
            f"{loss}: unknown need {unknown!r}, known are {sorted(NEEDS)}. {did_you_mean(unknown, NEEDS)}"
        )
    disclaims = frozenset(getattr(loss, "disclaims", frozenset()))
    for unknown in disclaims - {*DISCLAIMABLE}:
        raise ConformanceError(f"{loss}: unknown disclaim {unknown!r}, known are {sorted(DISCLAIMABLE)}.")
    disclaimed = {DISCLAIMABLE[name]: name for name in disclaims}
    for check in CHECKS:
        if check not in disclaimed:
            keep_to(check, loss, subject=loss)
            continue
        try:
            keep_to(check, loss, subject=loss)
        except ConformanceError:
            continue
        raise ConformanceError(f"{loss}: disclaims {disclaimed[check]!r}, which it keeps.")


def _answers_what_the_engine_takes(loss: Loss) -> None:
    leaf_QC = example_scores().requires_grad_()
    losses_Q = query_losses(loss, inputs_of(loss, leaf_QC, example_relevance()), queries=QUERIES)
    require_gradient(loss, torch.autograd.grad(losses_Q.sum(), leaf_QC, allow_unused=True)[0])


def _values_are_finite(loss: Loss) -> None:
    for dtype in (torch.float32, torch.float64):
        value_Q, gradient_QC = value_and_gradient(loss, example_scores().to(dtype), example_relevance())
        expect(value_Q.isfinite().all(), loss, "values are finite", value=value_Q)
        expect(gradient_QC.isfinite().all(), loss, "gradients are finite", gradient=gradient_QC)


def _inputs_stay_as_they_are(loss: Loss) -> None:
    leaf_QC = example_scores().requires_grad_()
    inputs = inputs_of(loss, leaf_QC, example_relevance())
    names = ("scores_QC", "positive_rows_P", "positive_columns_P", "positive_weights_P", "relevance_QC")
    before = {name: getattr(inputs, name).detach().clone() for name in names}
    loss(inputs).sum().backward()
    for name, old in before.items():
        expect(torch.equal(getattr(inputs, name), old), loss, f"{name} is not written into", before=old)


def _no_positives_teach_nothing(loss: Loss) -> None:
    none_QC, some_QC = torch.zeros(QUERIES, LABELS), example_relevance()
    some_QC[2] = 0
    value_Q, gradient_QC = value_and_gradient(loss, example_scores(), none_QC)
    zero = (value_Q == 0).all() and (gradient_QC == 0).all()
    expect(zero, loss, "queries without positives give 0 and gradient 0", value=value_Q, gradient=gradient_QC)
    value_Q, gradient_QC = value_and_gradient(loss, example_scores(), some_QC)
    fine = value_Q[2] == 0 and gradient_QC.isfinite().all()
    expect(fine, loss, "one query without positives among others gives 0", value=value_Q, gradient=gradient_QC)


def _no_negatives_are_finite(loss: Loss) -> None:
    all_QC, some_QC = torch.ones(QUERIES, LABELS), example_relevance()
    some_QC[2] = 1
    for relevance_QC in (all_QC, some_QC):
        value_Q, gradient_QC = value_and_gradient(loss, example_scores(), relevance_QC)
        finite = value_Q.isfinite().all() and gradient_QC.isfinite().all()
        expect(finite, loss, "finite without negatives", value=value_Q, gradient=gradient_QC)


def _label_order_does_not_matter(loss: Loss) -> None:
    order = torch.randperm(LABELS, generator=torch.Generator().manual_seed(3))
    value_Q, gradient_QC = value_and_gradient(loss, example_scores(), example_relevance())
    reordered = (each_QC[:, order] for each_QC in (example_scores(), example_relevance(), example_teacher()))
    other_Q, other_QC = value_and_gradient(loss, *reordered)
    same = not (differ(value_Q, other_Q, 1e-9) or differ(gradient_QC[:, order], other_QC, 1e-9))
    expect(same, loss, "the order of the labels does not matter", value=value_Q, reordered=other_Q)


def _query_order_does_not_matter(loss: Loss) -> None:
    value_Q, gradient_QC = value_and_gradient(loss, example_scores(), uneven_relevance())
    reversed_Q, reversed_QC = value_and_gradient(loss, *_rows(torch.arange(QUERIES - 1, -1, -1)))
    same = not (differ(value_Q.flip(0), reversed_Q, 1e-9) or differ(gradient_QC.flip(0), reversed_QC, 1e-9))
    expect(same, loss, "the order of the queries does not matter", value=value_Q, reordered=reversed_Q.flip(0))


def _queries_are_independent(loss: Loss) -> None:
    value_Q, gradient_QC = value_and_gradient(loss, example_scores(), uneven_relevance())
    for rows in (slice(0, 1), slice(1, 4), slice(4, QUERIES)):
        part, part_gradient = value_and_gradient(loss, *_rows(rows))
        same = not (differ(part, value_Q[rows], 1e-9) or differ(part_gradient, gradient_QC[rows], 1e-9))
        expect(same, loss, "pool='row': queries do not influence each other", whole=value_Q[rows], alone=part)


def _rows(rows: slice | Tensor) -> list[Tensor]:
    """Scores, relevance and teacher of some queries, which have 0, 1, 2, … positives."""
    return [each_QC[rows] for each_QC in (example_scores(), uneven_relevance(), example_teacher())]


def _raising_the_only_positive_never_hurts(loss: Loss) -> None:
    relevance_QC = example_relevance(positives=1)
    last_Q = None
    for score in torch.linspace(-30, 30, 121, dtype=torch.float64):
        scores_QC = example_scores().masked_fill(relevance_QC > 0, score.item())
        value_Q = value(loss, scores_QC, relevance_QC)
        if last_Q is not None:
            promise = f"raising the only positive's score to {score:.1f} must not raise the loss"
            expect((value_Q <= last_Q + 1e-9).all(), loss, promise, before=last_Q, after=value_Q)
        last_Q = value_Q


def _extreme_scores_are_finite(loss: Loss) -> None:
    for dtype in (torch.float32, torch.float64):
        for factor, shift in ((0, 0), (1, -1e4), (1, 1e4), (1e4, 0)):
            scores_QC = (factor * example_scores()).clamp(-1e4, 1e4) + shift
            value_Q, gradient_QC = value_and_gradient(loss, scores_QC.to(dtype), example_relevance())
            finite = value_Q.isfinite().all() and gradient_QC.isfinite().all()
            expect(finite, loss, f"finite at scores of ±10,000 ({dtype})", value=value_Q, gradient=gradient_QC)


def _half_precision_errs_like_its_inputs(loss: Loss) -> None:
    """The error against float64 is bounded by what rounding the scores alone may do, a few times over."""
    true_Q, gradient_QC = value_and_gradient(loss, example_scores(), example_relevance())
    rounding_Q = (gradient_QC * example_scores()).abs().sum(dim=1) + true_Q.abs() + 1
    for dtype in (torch.bfloat16, torch.float16):
        value_Q, _ = value_and_gradient(loss, example_scores().to(dtype), example_relevance())
        bound_Q = 4 * torch.finfo(dtype).eps * rounding_Q
        near = ((value_Q.double() - true_Q).abs() <= bound_Q).all()
        expect(near, loss, f"{dtype} is near float64", value=value_Q, true=true_Q, bound=bound_Q)


def _gradient_is_the_slope(loss: Loss) -> None:
    step = 1e-5
    scores_QC, relevance_QC = example_scores(), example_relevance()
    _, gradient_QC = value_and_gradient(loss, scores_QC, relevance_QC)
    for row, column in torch.cartesian_prod(torch.arange(QUERIES), torch.arange(LABELS)).tolist():
        nudge_QC = torch.zeros_like(scores_QC)
        nudge_QC[row, column] = step
        rise = (
            value(loss, scores_QC + nudge_QC, relevance_QC).sum()
            - value(loss, scores_QC - nudge_QC, relevance_QC).sum()
        )
        slope, gradient = rise / (2 * step), gradient_QC[row, column]
        promise = f"the gradient at query {row}, label {column} is the slope"
        expect((slope - gradient).abs() <= 1e-6 * (1 + slope.abs()), loss, promise, gradient=gradient, slope=slope)


def _is_its_configuration(loss: Loss) -> None:
    plain_options(loss, section="loss", what="a loss is")


def _a_deep_copy_is_the_same_loss(loss: Loss) -> None:
    old_Q, new_Q = (value(each, example_scores(), example_relevance()) for each in (loss, copy.deepcopy(loss)))
    expect(torch.equal(old_Q, new_Q), loss, "a deep copy is the same loss", loss=old_Q, copy=new_Q)


CHECKS: tuple[Callable[[Loss], None], ...] = (
    _is_its_configuration,
    it_leaves_the_rest_alone,  # before it could hide from the others
    _answers_what_the_engine_takes,
    _values_are_finite,
    it_answers_the_same_again,
    _a_deep_copy_is_the_same_loss,
    _inputs_stay_as_they_are,
    _no_positives_teach_nothing,
    _no_negatives_are_finite,
    few_labels_are_enough,
    _label_order_does_not_matter,
    _query_order_does_not_matter,
    _raising_the_only_positive_never_hurts,
    raising_the_best_negative_never_helps,
    sampled_labels_are_taken,
    float32_is_near_float64,
    _extreme_scores_are_finite,
    _half_precision_errs_like_its_inputs,
    _gradient_is_the_slope,
    a_needed_teacher_matters,
    needed_norms_are_taken,
    row_state_is_sound,
)
DISCLAIMABLE: dict[str, Callable[[Loss], None]] = {
    "higher_positive_is_better": _raising_the_only_positive_never_hurts,
    "gradient_is_the_slope": _gradient_is_the_slope,
}
