"""Invariants: the contract; λ is that of the definition, in loops; its fixed point is the largest value over λ, by
grid; the gradient there is that of the maximum; limits in λ₀; with a fixed λ it is LDR-KL."""

import math
from dataclasses import replace

import pytest
import torch
from repetitions import only_in_full
from torch.nn.functional import one_hot

from xmc.api import LossInputs, RowStateLoss
from xmc.engine.run_config import resolve
from xmc.plugin_manager import load_plugins
from xmc.testing import check_loss
from xmc_ldr.aldr_kl import LEAST_LAMBDA, AldrKl
from xmc_ldr.ldr_kl import LdrKl


def several_positives():
    torch.manual_seed(0)
    relevance_QC = (torch.rand(7, 40) < 0.15).double() * torch.rand(7, 40).add(0.5)
    relevance_QC[2] = 0.0
    return LossInputs.from_dense(2 * torch.randn(7, 40, dtype=torch.float64), relevance_QC)


def one_positive(margin, spread=1.0):
    """Inputs, and the violations over all 30 labels, that of the positive being 0."""
    torch.manual_seed(0)
    scores_QC, target_Q = spread * torch.randn(5, 30, dtype=torch.float64), torch.randint(0, 30, (5,))
    is_target_QC = one_hot(target_Q, 30)
    violation_QC = scores_QC - scores_QC.gather(1, target_Q[:, None]) + margin * (1 - is_target_QC.double())
    return LossInputs.from_dense(scores_QC, is_target_QC.double()), violation_QC


def with_state(inputs, state):
    state_Q = torch.as_tensor(state, dtype=torch.float64).expand(inputs.scores_QC.shape[0])
    return replace(inputs, row_state_Q=state_Q)


def fixed_point(loss, inputs, visits=200):
    state_Q = loss.row_state_start
    for _ in range(visits):
        state_Q = loss.next_row_state(with_state(inputs, state_Q))
    return state_Q


def loop_oracle(loss, scores, relevance, lambda_):
    """The next λ by the definition: the distribution of each positive, its divergence, the weighted mean."""
    answers = []
    for row, weights, old in zip(scores, relevance, lambda_, strict=True):
        negatives = [score for score, weight in zip(row, weights, strict=True) if weight == 0]
        total = weight_sum = 0.0
        for score, weight in zip(row, weights, strict=True):
            if weight > 0:
                terms = [1.0, *(math.exp((negative - score + loss.margin) / old) for negative in negatives)]
                shares = [term / sum(terms) for term in terms]
                total += weight * sum(share * math.log(share * len(terms)) for share in shares)
                weight_sum += weight
        divergence = total / weight_sum if weight_sum else 0.0
        answers.append(loss.lambda_ * (1 - divergence / (loss.alpha * math.log(1 + len(negatives)))))
    return answers


@pytest.mark.parametrize(
    "loss",
    [
        AldrKl(),
        AldrKl(0.07, 2.0, 0.1),
        pytest.param(AldrKl(10.0, 1.0, 1.0), marks=only_in_full),
        AldrKl(LEAST_LAMBDA),
        pytest.param(AldrKl(3.0, 8.0), marks=only_in_full),
    ],
)
def test_keeps_the_contract(loss):
    check_loss(loss)
    assert isinstance(loss, RowStateLoss) and not isinstance(LdrKl(), RowStateLoss)


@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_a_step_equals_the_loop_oracle(margin):
    loss, inputs = AldrKl(1.5, 3.0, margin), several_positives()
    old_Q = torch.linspace(0.5, 1.5, 7, dtype=torch.float64)
    expected = loop_oracle(loss, inputs.scores_QC.tolist(), inputs.relevance_QC.tolist(), old_Q.tolist())
    assert loss.next_row_state(with_state(inputs, old_Q)).tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("spread", [0.3, 1.0, 5.0])
def test_with_one_positive_the_divergence_is_that_of_the_paper(spread):
    """KL(p ‖ uniform) = Σ p · violation / λ − log-sum-exp(violation / λ) + log n, p the softmax over all labels."""
    loss = AldrKl(1.0, 2.0, 0.7)
    inputs, violation_QC = one_positive(0.7, spread)
    worst_QC = torch.softmax(violation_QC / 0.8, dim=1)
    divergence_Q = (worst_QC * violation_QC).sum(1) / 0.8 - (violation_QC / 0.8).logsumexp(1) + math.log(30)
    torch.testing.assert_close(
        loss.next_row_state(with_state(inputs, 0.8)), 1.0 * (1 - divergence_Q / (2 * math.log(30))), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("case", ["one positive", "several"])
@pytest.mark.parametrize(
    "loss", [AldrKl(1.0, 2.0, 0.7), pytest.param(AldrKl(2.0, 1.2), marks=only_in_full), AldrKl(0.3, 4.0, 0.1)]
)
def test_the_fixed_point_is_the_largest_value_over_lambda(loss, case):
    inputs = one_positive(0.0)[0] if case == "one positive" else several_positives()
    point_Q = fixed_point(loss, inputs)
    torch.testing.assert_close(loss.next_row_state(with_state(inputs, point_Q)), point_Q, rtol=1e-12, atol=1e-12)
    grid = torch.linspace(loss.lambda_ * (1 - 1 / loss.alpha), 1.2 * loss.lambda_, 601, dtype=torch.float64)[1:]
    values_GQ = torch.stack([loss(with_state(inputs, float(lambda_))) for lambda_ in grid])
    asked_Q = inputs.positive_weight_sum_Q > 0
    step = float(grid[1] - grid[0])
    assert ((grid[values_GQ.argmax(dim=0)] - point_Q).abs() <= step)[asked_Q].all()
    assert (loss(with_state(inputs, point_Q)) >= values_GQ.amax(dim=0) - 1e-12).all()


def test_the_gradient_at_the_fixed_point_is_that_of_the_largest_value():
    """The envelope theorem: the λ of nudged scores may be found anew, the slope is the same."""
    loss, (inputs, violation_QC) = AldrKl(1.0, 2.0, 0.7), one_positive(0.7)
    point_Q = fixed_point(loss, inputs)
    leaf_QC = inputs.scores_QC.clone().requires_grad_()
    (gradient_QC,) = torch.autograd.grad(loss(with_state(replace(inputs, scores_QC=leaf_QC), point_Q)).sum(), leaf_QC)
    worst_QC = torch.softmax(violation_QC / point_Q[:, None], dim=1)
    torch.testing.assert_close(gradient_QC, worst_QC - inputs.relevance_QC)
    nudge_QC = 1e-5 * torch.randn(5, 30, dtype=torch.float64)
    largest = []
    for sign in (1, -1):
        nudged = replace(inputs, scores_QC=inputs.scores_QC + sign * nudge_QC)
        largest.append(loss(with_state(nudged, fixed_point(loss, nudged))))
    torch.testing.assert_close((largest[0] - largest[1]) / 2, (gradient_QC * nudge_QC).sum(1), rtol=1e-6, atol=1e-12)


def test_lambda_stays_in_its_range_and_equal_scores_leave_it_where_it_starts():
    loss = AldrKl(1.0, 2.0)
    for spread in (0.01, 1.0, 100.0):
        inputs = one_positive(0.0, spread)[0]
        for state in (0.5, 1.0):
            next_Q = loss.next_row_state(with_state(inputs, state))
            assert ((next_Q >= 0.5) & (next_Q <= 1.0)).all()
    equal = replace(one_positive(0.0)[0], scores_QC=torch.full((5, 30), 3.0, dtype=torch.float64))
    torch.testing.assert_close(loss.next_row_state(equal), torch.ones(5, dtype=torch.float64))
    assert loss(equal).abs().max() < 1e-12
    assert fixed_point(AldrKl(0.05, 1.0), one_positive(0.0, 100.0)[0]).min().item() == LEAST_LAMBDA


def test_limits_are_the_hardest_violation_and_the_mean_violation():
    inputs, violation_QC = one_positive(0.7)
    small = AldrKl(LEAST_LAMBDA, 2.0, 0.7)
    small_Q = small(with_state(inputs, fixed_point(small, inputs)))
    assert (small_Q - violation_QC.amax(1)).abs().max() <= 2 * LEAST_LAMBDA * math.log(30)
    large = AldrKl(1e6, 2.0, 0.7)
    large_Q = large(with_state(inputs, fixed_point(large, inputs)))
    assert (large_Q - violation_QC.mean(1)).abs().max() < 2e-6


def test_without_a_state_it_is_ldr_kl_and_with_one_ldr_kl_less_the_strain():
    inputs = several_positives()
    torch.testing.assert_close(AldrKl(0.7, 2.0, 0.1)(inputs), LdrKl(0.7, 0.1)(inputs))
    log_n_Q = inputs.negative_counts_Q.double().log1p()
    strain_Q = (2 * log_n_Q / (2 * 0.7) * 0.2**2) * (inputs.positive_weight_sum_Q > 0)
    torch.testing.assert_close(AldrKl(0.7, 2.0, 0.1)(with_state(inputs, 0.5)), LdrKl(0.5, 0.1)(inputs) - strain_Q)


def test_without_positives_or_negatives_lambda_is_at_its_start_and_the_value_0():
    loss = AldrKl(0.3, 2.0, 0.5)
    for relevance in (0.0, 1.0):
        inputs = with_state(LossInputs.from_dense(torch.randn(1, 4), torch.full((1, 4), relevance)), 0.2)
        assert loss.next_row_state(inputs).item() == pytest.approx(0.3)
        assert loss(inputs).item() == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lambda_": 1e-4}, "lambda_ must be a finite number >= 0.001"),
        ({"lambda_": math.inf}, "lambda_ must be a finite number >= 0.001"),
        ({"alpha": 0.9}, "alpha must be a finite number >= 1"),
        ({"margin": -0.1}, "margin must be a finite number >= 0"),
    ],
)
def test_a_senseless_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        AldrKl(**options)


def test_the_recipe_is_a_valid_configuration_of_this_loss():
    assert resolve(load_plugins(), plugin="ldr.aldr").loss.options == AldrKl(lambda_=0.14, margin=0.1)
