"""Invariants: the contract; the loop oracle; one positive = cross entropy; no positive is pushed down."""

import math

import pytest
import torch
from dense_losses import evaluate
from torch.nn.functional import cross_entropy

from xmc.api import LossInputs
from xmc.testing import check_loss
from xmc_dexml.decoupled_softmax import DecoupledSoftmax


def loop_oracle(scores, relevance, temperature):
    """The definition, label by label."""
    values = []
    for row, weights in zip(scores, relevance, strict=True):
        negatives = sum(math.exp(s / temperature) for s, w in zip(row, weights, strict=True) if w == 0)
        total = weight_sum = 0.0
        for score, weight in zip(row, weights, strict=True):
            if weight > 0:
                own = math.exp(score / temperature)
                total -= weight * math.log(own / (own + negatives))
                weight_sum += weight
        values.append(total / weight_sum if weight_sum else 0.0)
    return values


def naive(scores_QC, relevance_QC):
    """The same, dense, in plain torch: the form whose speed the plugin must beat."""
    is_positive_QC = relevance_QC > 0
    log_negatives_Q1 = scores_QC.masked_fill(is_positive_QC, -torch.inf).logsumexp(dim=1, keepdim=True)
    log_likelihood_QC = scores_QC - torch.logaddexp(scores_QC, log_negatives_Q1)
    weighted_QC = (relevance_QC * -log_likelihood_QC).where(is_positive_QC, torch.zeros((), dtype=scores_QC.dtype))
    return weighted_QC.sum(dim=1) / relevance_QC.sum(dim=1).clamp(min=1e-30)


def random_problem(queries=7, labels=40):
    torch.manual_seed(0)
    relevance_QC = (torch.rand(queries, labels) < 0.15).double() * torch.rand(queries, labels).add(0.5)
    relevance_QC[:, -1] = 1.0  # the last column is a positive of everyone
    relevance_QC[2] = 0.0
    return torch.randn(queries, labels, dtype=torch.float64) * 2, relevance_QC


@pytest.mark.parametrize("temperature", [1.0, 0.05, 20.0])
def test_keeps_the_contract(temperature):
    check_loss(DecoupledSoftmax(temperature=temperature))


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_equals_the_loop_oracle(temperature):
    scores_QC, relevance_QC = random_problem()
    value_Q, _ = evaluate(DecoupledSoftmax(temperature=temperature), scores_QC, relevance_QC)
    assert value_Q.tolist() == pytest.approx(loop_oracle(scores_QC.tolist(), relevance_QC.tolist(), temperature))


def test_gradient_equals_that_of_the_naive_form():
    scores_QC, relevance_QC = random_problem()
    _, gradient_QC = evaluate(DecoupledSoftmax(), scores_QC, relevance_QC)
    leaf_QC = scores_QC.clone().requires_grad_()
    (truth_QC,) = torch.autograd.grad(naive(leaf_QC, relevance_QC).sum(), leaf_QC)
    torch.testing.assert_close(gradient_QC, truth_QC, rtol=1e-10, atol=1e-12)


def test_gradcheck_of_the_naive_and_of_the_fast_form():
    scores_QC, relevance_QC = random_problem(3, 8)
    leaf_QC = scores_QC.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: naive(s, relevance_QC), (leaf_QC,))
    assert torch.autograd.gradcheck(lambda s: DecoupledSoftmax()(LossInputs.from_dense(s, relevance_QC)), (leaf_QC,))


def test_with_one_positive_it_is_the_cross_entropy():
    scores_QC, _ = random_problem()
    target_Q = torch.arange(7) * 5
    value_Q, _ = evaluate(DecoupledSoftmax(), scores_QC, torch.nn.functional.one_hot(target_Q, 40))
    torch.testing.assert_close(value_Q, cross_entropy(scores_QC, target_Q, reduction="none"))


def test_no_positive_is_pushed_down_and_each_row_of_the_gradient_sums_to_0():
    scores_QC, relevance_QC = random_problem()
    for confident in (0.0, 8.0, 300.0):
        lifted_QC = scores_QC.clone()
        lifted_QC[:, -1] += confident
        _, gradient_QC = evaluate(DecoupledSoftmax(), lifted_QC, relevance_QC)
        assert gradient_QC[relevance_QC > 0].max() <= 0
        assert gradient_QC.sum(dim=1).abs().max() < 1e-12


def test_an_easy_positive_is_left_alone():
    """Scores (8, 0, 0 | −2, −2): see the same case for InfoNCE, which pushes the easy one down with +0.6659."""
    _, gradient_QC = evaluate(DecoupledSoftmax(), [[8.0, 0, 0, -2, -2]], [[1.0, 1, 1, 0, 0]])
    assert gradient_QC[0, 0].item() == pytest.approx(-3.0e-5, abs=1e-6)


def test_perfect_separation_gives_0():
    value_Q, _ = evaluate(DecoupledSoftmax(), [[50.0, 50, 50, -50, -50]], [[1.0, 1, 1, 0, 0]])
    assert value_Q.item() == pytest.approx(0.0, abs=1e-12)


def test_scores_below_minus_100_are_not_taken_for_masked_ones():
    value_Q, _ = evaluate(DecoupledSoftmax(), [[-140.0, -140, -140, -150, -150]], [[1.0, 1, 1, 0, 0]])
    assert value_Q.item() == pytest.approx(math.log1p(2 * math.exp(-10)), rel=1e-9)


def test_weights_are_normalised_per_query():
    scores_QC, relevance_QC = random_problem()
    torch.testing.assert_close(
        evaluate(DecoupledSoftmax(), scores_QC, relevance_QC),
        evaluate(DecoupledSoftmax(), scores_QC, 10 * relevance_QC),
    )


def test_a_query_without_negatives_gives_0_and_no_gradient():
    value_Q, gradient_QC = evaluate(DecoupledSoftmax(), [[3.0, -4.0], [1e4, -1e4]], [[1.0, 1.0], [1.0, 2.0]])
    assert value_Q.tolist() == [0.0, 0.0] and (gradient_QC == 0).all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number > 0"):
        DecoupledSoftmax(temperature=temperature)


def test_over_sampled_labels_the_correction_counts_a_drawn_one_for_those_left_out():
    """One of 4 equal negatives was drawn: with probability 1/4 it stands for four."""
    one = torch.zeros(1, dtype=torch.int64)
    sampled = LossInputs(torch.tensor([[2.0, 0.0]]), one, one, torch.ones(1), torch.tensor([0.0, math.log(1 / 4)]))
    full = LossInputs(torch.tensor([[2.0, 0.0, 0.0, 0.0, 0.0]]), one, one, torch.ones(1))
    truth = DecoupledSoftmax()(full).item()
    assert DecoupledSoftmax(correct_sampling=True)(sampled).item() == pytest.approx(truth)
    assert DecoupledSoftmax()(sampled).item() < truth - 0.2
    check_loss(DecoupledSoftmax(correct_sampling=True))
