"""Invariants: the contract; the loop oracle; limits in lambda; bounds; the dual value; kinship with other losses."""

import math

import pytest
import torch
from dense_losses import evaluate
from torch.nn.functional import cross_entropy, one_hot

from xmc.engine.run_config import resolve
from xmc.plugin_manager import load_plugins
from xmc.testing import check_loss
from xmc_dexml.decoupled_softmax import DecoupledSoftmax
from xmc_ldr.ldr_kl import LdrKl


def loop_oracle(scores, relevance, lambda_, margin):
    """The definition, positive by positive."""
    values = []
    for row, weights in zip(scores, relevance, strict=True):
        negatives = [score for score, weight in zip(row, weights, strict=True) if weight == 0]
        total = weight_sum = 0.0
        for score, weight in zip(row, weights, strict=True):
            if weight > 0:
                terms = [1.0, *(math.exp((negative - score + margin) / lambda_) for negative in negatives)]
                total += weight * lambda_ * math.log(sum(terms) / len(terms))
                weight_sum += weight
        values.append(total / weight_sum if weight_sum else 0.0)
    return values


def several_positives():
    torch.manual_seed(0)
    relevance_QC = (torch.rand(7, 40) < 0.15).double() * torch.rand(7, 40).add(0.5)
    relevance_QC[2] = 0.0
    return torch.randn(7, 40, dtype=torch.float64), relevance_QC


def one_positive(margin):
    """Scores, relevance, and the violations over all 30 labels, that of the positive being 0."""
    torch.manual_seed(0)
    scores_QC, target_Q = torch.randn(5, 30, dtype=torch.float64), torch.randint(0, 30, (5,))
    is_target_QC = one_hot(target_Q, 30)
    violation_QC = scores_QC - scores_QC.gather(1, target_Q[:, None]) + margin * (1 - is_target_QC)
    return scores_QC, is_target_QC.double(), violation_QC


@pytest.mark.parametrize(
    "loss", [LdrKl(), LdrKl(lambda_=0.05), LdrKl(lambda_=3.0, margin=1.0), LdrKl(lambda_=1e3), LdrKl(0.07, 0.1)]
)
def test_keeps_the_contract(loss):
    check_loss(loss)


@pytest.mark.parametrize("lambda_", [0.2, 1.0, 30.0])
@pytest.mark.parametrize("margin", [0.0, 0.7])
def test_equals_the_loop_oracle(lambda_, margin):
    scores_QC, relevance_QC = several_positives()
    loss_Q, _ = evaluate(LdrKl(lambda_, margin), scores_QC, relevance_QC)
    assert loss_Q.tolist() == pytest.approx(loop_oracle(scores_QC.tolist(), relevance_QC.tolist(), lambda_, margin))


def test_with_lambda_1_and_no_margin_it_is_the_decoupled_softmax_less_a_constant():
    scores_QC, relevance_QC = several_positives()
    loss_Q, gradient_QC = evaluate(LdrKl(), scores_QC, relevance_QC)
    softmax_Q, softmax_QC = evaluate(DecoupledSoftmax(), scores_QC, relevance_QC)
    constant_Q = (1 + (relevance_QC == 0).sum(dim=1)).log() * (relevance_QC > 0).any(dim=1)
    torch.testing.assert_close(loss_Q, softmax_Q - constant_Q)
    torch.testing.assert_close(gradient_QC, softmax_QC)


@pytest.mark.parametrize("lambda_", [1.0, 3.0])
def test_with_one_positive_it_is_the_cross_entropy_at_that_temperature(lambda_):
    scores_QC, relevance_QC, _ = one_positive(0.0)
    truth_Q = cross_entropy(scores_QC / lambda_, relevance_QC.argmax(1), reduction="none") - math.log(30)
    torch.testing.assert_close(evaluate(LdrKl(lambda_), scores_QC, relevance_QC)[0], lambda_ * truth_Q)


def test_limits_are_the_hardest_violation_and_the_mean_violation():
    scores_QC, relevance_QC, violation_QC = one_positive(0.7)
    hard_Q, _ = evaluate(LdrKl(1e-4, 0.7), scores_QC, relevance_QC)
    assert (hard_Q - violation_QC.amax(1)).abs().max() <= 1e-4 * math.log(30)
    mean_Q, _ = evaluate(LdrKl(1e6, 0.7), scores_QC, relevance_QC)
    assert (mean_Q - violation_QC.mean(1)).abs().max() < 2e-6


@pytest.mark.parametrize("lambda_", [0.1, 1.0, 10.0])
def test_it_lies_between_the_mean_and_the_hardest_violation(lambda_):
    scores_QC, relevance_QC, violation_QC = one_positive(0.7)
    loss_Q, _ = evaluate(LdrKl(lambda_, 0.7), scores_QC, relevance_QC)
    assert (violation_QC.mean(1) - 1e-12 <= loss_Q).all() and (loss_Q <= violation_QC.amax(1) + 1e-12).all()
    assert (violation_QC.amax(1) - lambda_ * math.log(30) <= loss_Q + 1e-12).all()


def test_it_is_the_value_of_the_worst_distribution_and_the_gradient_is_that_distribution():
    scores_QC, relevance_QC, violation_QC = one_positive(0.7)
    worst_QC = torch.softmax(violation_QC / 2, dim=1)
    divergence_Q = (worst_QC * torch.log(30 * worst_QC)).sum(1)
    loss_Q, gradient_QC = evaluate(LdrKl(2.0, 0.7), scores_QC, relevance_QC)
    torch.testing.assert_close(loss_Q, (worst_QC * violation_QC).sum(1) - 2 * divergence_Q)
    torch.testing.assert_close(gradient_QC, worst_QC - relevance_QC)
    other_QC = torch.softmax(violation_QC / 2 + 0.1 * torch.randn(5, 30, dtype=torch.float64), dim=1)
    other_Q = (other_QC * violation_QC).sum(1) - 2 * (other_QC * torch.log(30 * other_QC)).sum(1)
    assert (other_Q < loss_Q).all()


def test_its_derivative_in_lambda_is_minus_the_divergence():
    scores_QC, relevance_QC, violation_QC = one_positive(0.7)
    worst_QC = torch.softmax(violation_QC / 0.8, dim=1)
    divergence_Q = (worst_QC * torch.log(30 * worst_QC)).sum(1)
    above_Q, below_Q = (evaluate(LdrKl(0.8 + s, 0.7), scores_QC, relevance_QC)[0] for s in (1e-5, -1e-5))
    torch.testing.assert_close((above_Q - below_Q) / 2e-5, -divergence_Q, rtol=1e-6, atol=1e-6)


def test_equal_scores_without_margin_give_0_and_with_one_less_than_the_margin():
    _, relevance_QC = several_positives()
    equal_QC = torch.full_like(relevance_QC, 3.0)
    assert evaluate(LdrKl(0.1), equal_QC, relevance_QC)[0].abs().max() < 1e-14
    loss_Q, _ = evaluate(LdrKl(0.1, 0.5), equal_QC, relevance_QC)
    asked_Q = (relevance_QC > 0).any(dim=1)
    assert ((loss_Q > 0) & (loss_Q < 0.5))[asked_Q].all() and (loss_Q[~asked_Q] == 0).all()


def test_a_query_without_negatives_gives_0_and_no_gradient():
    loss_Q, gradient_QC = evaluate(LdrKl(0.1, 0.5), torch.tensor([[3.0, -4.0]]), torch.ones(1, 2))
    assert loss_Q.tolist() == [0.0] and (gradient_QC == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lambda_": 0.0}, "lambda_ must be a finite number > 0"),
        ({"lambda_": math.inf}, "lambda_ must be a finite number > 0"),
        ({"margin": -0.1}, "margin must be a finite number >= 0"),
        ({"margin": math.nan}, "margin must be a finite number >= 0"),
    ],
)
def test_a_senseless_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LdrKl(**options)


def test_the_recipe_is_a_valid_configuration_of_this_loss():
    assert resolve(load_plugins(), plugin="ldr").loss.options == LdrKl(lambda_=0.07, margin=0.1)
