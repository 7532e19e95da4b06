"""What a loss may claim beyond the contract, each with its check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch

from xmc.api import Loss
from xmc.testing.conformance import expect
from xmc.testing.loss_cases import (
    QUERIES,
    differ,
    example_relevance,
    example_scores,
    example_teacher,
    inputs_of,
    value,
    value_and_gradient,
)


def _shift_invariant(loss: Loss) -> None:
    shift_Q1 = torch.linspace(-5, 5, QUERIES, dtype=torch.float64).unsqueeze(1)
    value_Q, shifted_Q = (
        value(loss, case_QC, example_relevance()) for case_QC in (example_scores(), example_scores() + shift_Q1)
    )
    expect(not differ(value_Q, shifted_Q, 1e-9), loss, "claims shift_invariant", value=value_Q, shifted=shifted_Q)


def _scale_invariant(loss: Loss) -> None:
    value_Q, scaled_Q = (
        value(loss, case_QC, example_relevance()) for case_QC in (example_scores(), 3 * example_scores())
    )
    expect(not differ(value_Q, scaled_Q, 1e-9), loss, "claims scale_invariant", value=value_Q, scaled=scaled_Q)


def _positives_do_not_compete(loss: Loss) -> None:
    relevance_QC = example_relevance()
    confident_QC = example_scores() + 12 * (
        relevance_QC.cumsum(dim=1) == relevance_QC
    )  # lifts the first positive of each query
    for scores_QC in (example_scores(), confident_QC):
        _, gradient_QC = value_and_gradient(loss, scores_QC, relevance_QC)
        worst = gradient_QC[relevance_QC > 0].max()
        expect(worst <= 0, loss, "claims positives_do_not_compete, so none is pushed down", gradient=worst)


def _skips_labels(loss: Loss) -> None:
    """A skipped label is one that is not there: the same row without its column, and no gradient at it."""
    scores_QC, relevance_QC = example_scores(), example_relevance()
    for row in range(QUERIES):
        score_C, weight_C, taught_C = scores_QC[row], relevance_QC[row], example_teacher()[row]
        for skipped in (
            (weight_C > 0) & (weight_C.cumsum(0) > weight_C.sum() / 3),
            score_C > 2,
            score_C <= score_C.min(),
        ):
            if not bool((weight_C[~skipped] > 0).any()):
                continue
            there, columns_S = (~skipped).nonzero().flatten(), skipped.nonzero().flatten()
            value_Q, gradient_QC = value_and_gradient(
                loss, score_C[there][None], weight_C[there][None], taught_C[there][None]
            )
            leaf_QC = score_C.clone()[None].requires_grad_()
            inputs = inputs_of(loss, leaf_QC, weight_C.masked_fill(skipped, 0.0)[None], taught_C[None])
            inputs = replace(inputs, skipped_rows_S=torch.zeros_like(columns_S), skipped_columns_S=columns_S)
            skipping_Q = loss(inputs)
            (slope_QC,) = torch.autograd.grad(skipping_Q.sum(), leaf_QC)
            same = not (differ(skipping_Q.detach(), value_Q, 1e-9) or differ(slope_QC[:, there], gradient_QC, 1e-9))
            fine = same and bool((slope_QC[:, columns_S] == 0).all())
            expect(fine, loss, "claims skips_labels", skipped=columns_S, value=skipping_Q.detach(), without=value_Q)


CLAIMS: dict[str, Callable[[Loss], None]] = {
    "shift_invariant": _shift_invariant,
    "scale_invariant": _scale_invariant,
    "positives_do_not_compete": _positives_do_not_compete,
    "skips_labels": _skips_labels,
}
