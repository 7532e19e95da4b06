"""What a loss that keeps one number for each training query must keep to."""

from __future__ import annotations

from dataclasses import replace

import torch

from xmc.api import Loss, LossInputs, RowStateLoss
from xmc.testing.conformance import expect
from xmc.testing.loss_cases import QUERIES, differ, example_relevance, example_scores, example_teacher, inputs_of

VISITS = 20


def row_state_is_sound(loss: Loss) -> None:
    """Start value, shape, no gradient, finite over many visits, and each query's number its own affair."""
    if not isinstance(loss, RowStateLoss):
        return
    inputs = inputs_of(loss, example_scores().requires_grad_(), example_relevance())
    started = replace(inputs, row_state_Q=torch.full((QUERIES,), loss.row_state_start))
    none_Q, start_Q = loss(inputs).detach(), loss(started).detach()
    expect(not differ(none_Q, start_Q, 1e-6), loss, "without row state it is at its start", none=none_Q, start=start_Q)
    state_Q = loss.next_row_state(started)
    expect(state_Q.shape == (QUERIES,), loss, f"one state per query, ({QUERIES},)", shape=tuple(state_Q.shape))
    expect(not state_Q.requires_grad, loss, "the next state has no gradient", state=state_Q)
    third = (each_QC[2:3] for each_QC in (example_scores(), example_relevance(), example_teacher()))
    alone = inputs_of(loss, *third)
    own = loss.next_row_state(replace(alone, row_state_Q=started.row_state_Q[2:3]))  # type: ignore[index]
    expect(not differ(own, state_Q[2:3], 1e-6), loss, "the states of queries are independent", alone=own, whole=state_Q)
    for factor in (0.0, 1.0, 1e3):
        _stays_finite(loss, inputs_of(loss, factor * example_scores(), example_relevance()))
        _stays_finite(loss, inputs_of(loss, factor * example_scores().float(), torch.ones_like(example_scores())))


def _stays_finite(loss: RowStateLoss, inputs: LossInputs) -> None:
    state_Q = torch.full((QUERIES,), loss.row_state_start)
    for _ in range(VISITS):
        state_Q = loss.next_row_state(replace(inputs, row_state_Q=state_Q)).float()
    value_Q = loss(replace(inputs, row_state_Q=state_Q))
    finite = bool(state_Q.isfinite().all() and value_Q.isfinite().all())
    expect(finite, loss, f"state and value are finite after {VISITS} visits", state=state_Q, value=value_Q)
