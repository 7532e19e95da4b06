"""What a loss may claim beyond the contract, each with its check."""

from __future__ import annotations

from collections.abc import Callable

import torch

from xmc.api import Loss
from xmc.testing.conformance import expect
from xmc.testing.loss_cases import QUERIES, differ, example_relevance, example_scores, value, value_and_gradient


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


CLAIMS: dict[str, Callable[[Loss], None]] = {
    "shift_invariant": _shift_invariant,
    "scale_invariant": _scale_invariant,
    "positives_do_not_compete": _positives_do_not_compete,
}
