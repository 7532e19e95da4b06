"""Invariants: the contract; torch's own binary cross entropy; what the two reductions leave of the gradient."""

import math

import pytest
import torch
from dense_losses import evaluate
from torch.nn.functional import binary_cross_entropy_with_logits

from xmc.testing import check_loss
from xmc_baselines.binary_cross_entropy import BinaryCrossEntropy


@pytest.mark.parametrize(
    "loss", [BinaryCrossEntropy(), BinaryCrossEntropy(temperature=0.1, bias=-3.0, reduction="sum")], ids=str
)
def test_keeps_the_contract(loss):
    check_loss(loss)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_equals_the_dense_form_in_value_and_gradient(reduction):
    torch.manual_seed(0)
    scores_QC = torch.randn(6, 30, dtype=torch.float64) * 2
    relevance_QC = (torch.rand(6, 30) < 0.2).double()
    relevance_QC[:, -1] = 1.0
    loss = BinaryCrossEntropy(temperature=0.5, bias=-1.0, reduction=reduction)
    value_Q, gradient_QC = evaluate(loss, scores_QC, relevance_QC)
    leaf_QC = scores_QC.clone().requires_grad_()
    truth_QC = binary_cross_entropy_with_logits(leaf_QC / 0.5 - 1.0, relevance_QC, reduction="none")
    truth_Q = truth_QC.mean(dim=1) if reduction == "mean" else truth_QC.sum(dim=1)
    torch.testing.assert_close(value_Q, truth_Q.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient_QC, *torch.autograd.grad(truth_Q.sum(), leaf_QC), rtol=1e-12, atol=1e-12)


def test_a_weight_counts_a_positive_that_often():
    scores_QC, relevance_QC = torch.zeros(1, 4), torch.tensor([[3.0, 0.0, 0.0, 0.0]])
    value_Q, _ = evaluate(BinaryCrossEntropy(reduction="sum"), scores_QC, relevance_QC)
    assert value_Q.item() == pytest.approx(6 * math.log(2))


def test_over_many_labels_the_mean_leaves_almost_no_gradient_on_the_positive():
    scores_QC, relevance_QC = torch.zeros(1, 50_000), torch.zeros(1, 50_000)
    relevance_QC[0, 7] = 1.0
    _, mean_QC = evaluate(BinaryCrossEntropy(), scores_QC, relevance_QC)
    _, sum_QC = evaluate(BinaryCrossEntropy(reduction="sum"), scores_QC, relevance_QC)
    assert mean_QC[0, 7].item() == pytest.approx(-1e-5)
    assert sum_QC[0, 7].item() == pytest.approx(-0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be"),
        ({"bias": math.nan}, "bias must be finite"),
        ({"reduction": "median"}, "reduction must be 'mean' or 'sum', got 'median'"),
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BinaryCrossEntropy(**options)
