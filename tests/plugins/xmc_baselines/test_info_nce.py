"""Invariants: the contract; torch's log-softmax; the two numbers that show what several positives do to it."""

import math

import pytest
import torch
from dense_losses import evaluate

from xmc.api import LossInputs
from xmc.testing import check_loss
from xmc_baselines.info_nce import InfoNce


@pytest.mark.parametrize("temperature", [1.0, 0.05, 20.0])
def test_keeps_the_contract(temperature):
    check_loss(InfoNce(temperature=temperature))


def test_equals_the_dense_form_in_value_and_gradient():
    torch.manual_seed(0)
    scores_QC = torch.randn(6, 30, dtype=torch.float64) * 2
    relevance_QC = (torch.rand(6, 30) < 0.2).double() * torch.rand(6, 30).add(0.5)
    relevance_QC[:, -1] = 1.0
    value_Q, gradient_QC = evaluate(InfoNce(temperature=0.3), scores_QC, relevance_QC)
    leaf_QC = scores_QC.clone().requires_grad_()
    truth_Q = -((leaf_QC / 0.3).log_softmax(dim=1) * relevance_QC).sum(dim=1) / relevance_QC.sum(dim=1)
    torch.testing.assert_close(value_Q, truth_Q.detach())
    torch.testing.assert_close(gradient_QC, *torch.autograd.grad(truth_Q.sum(), leaf_QC))
    assert gradient_QC.sum(dim=1).abs().max() < 1e-12


def test_an_easy_positive_is_pushed_down():
    _, gradient_QC = evaluate(InfoNce(), [[8.0, 0, 0, -2, -2]], [[1.0, 1, 1, 0, 0]])
    assert gradient_QC[0, 0].item() == pytest.approx(0.6659, abs=5e-5)


def test_perfect_separation_of_three_positives_gives_log_3():
    value_Q, _ = evaluate(InfoNce(), [[50.0, 50, 50, -50, -50]], [[1.0, 1, 1, 0, 0]])
    assert value_Q.item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan, math.inf])
def test_a_senseless_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be a finite number > 0"):
        InfoNce(temperature=temperature)


def test_over_sampled_labels_the_correction_counts_a_drawn_one_for_those_left_out():
    """One of 4 equal negatives was drawn: with probability 1/4 it stands for four."""
    one = torch.zeros(1, dtype=torch.int64)
    sampled = LossInputs(torch.tensor([[2.0, 0.0]]), one, one, torch.ones(1), torch.tensor([0.0, math.log(1 / 4)]))
    full = LossInputs(torch.tensor([[2.0, 0.0, 0.0, 0.0, 0.0]]), one, one, torch.ones(1))
    truth = InfoNce()(full).item()
    assert InfoNce(correct_sampling=True)(sampled).item() == pytest.approx(truth)
    assert InfoNce()(sampled).item() < truth - 0.2
    check_loss(InfoNce(correct_sampling=True))
