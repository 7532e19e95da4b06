"""Invariants: the contract; the closed form of the gradient; its two sums; the largest z; the hinge; equal scores."""

import math

import pytest
import torch
from dense_losses import evaluate
from torch.nn.functional import one_hot

from xmc.api import LossInputs
from xmc.testing import check_loss
from xmc_zloss.z_loss import ZLoss


def loop_oracle(scores, relevance, sharpness, location):
    """The definition, label by label."""
    values = []
    for row, weights in zip(scores, relevance, strict=True):
        mean = sum(row) / len(row)
        deviation = math.sqrt(sum((score - mean) ** 2 for score in row) / len(row))
        total = sum(
            weight * math.log1p(math.exp(sharpness * (location - (score - mean) / deviation))) / sharpness
            for score, weight in zip(row, weights, strict=True)
        )
        values.append(total / sum(weights) if sum(weights) else 0.0)
    return values


def random_problem(queries=5, labels=300):
    torch.manual_seed(0)
    relevance_QC = (torch.rand(queries, labels) < 0.02).double() * torch.rand(queries, labels).add(0.5)
    relevance_QC[:, -1] = 1.0
    relevance_QC[2] = 0.0
    return torch.randn(queries, labels, dtype=torch.float64), relevance_QC


@pytest.mark.parametrize("loss", [ZLoss(), ZLoss(0.3, 12.0), ZLoss(50.0, 2.0)], ids=str)
def test_keeps_the_contract(loss):
    check_loss(loss)


def test_equals_the_loop_oracle():
    scores_QC, relevance_QC = random_problem()
    value_Q, _ = evaluate(ZLoss(0.7, 3.0), scores_QC, relevance_QC)
    assert value_Q.tolist() == pytest.approx(loop_oracle(scores_QC.tolist(), relevance_QC.tolist(), 0.7, 3.0))


def test_shift_and_scale_change_nothing():
    scores_QC, relevance_QC = random_problem()
    value_Q, gradient_QC = evaluate(ZLoss(0.7, 3.0), scores_QC, relevance_QC)
    moved_Q, moved_QC = evaluate(ZLoss(0.7, 3.0), 2.5 * scores_QC - 4, relevance_QC)
    torch.testing.assert_close(moved_Q, value_Q, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(2.5 * moved_QC, gradient_QC, rtol=1e-12, atol=1e-12)


def test_the_gradient_is_orthogonal_to_shifts_and_to_the_scores():
    scores_QC, relevance_QC = random_problem()
    _, gradient_QC = evaluate(ZLoss(0.7, 3.0), scores_QC, relevance_QC)
    assert gradient_QC.abs().max() > 0.1
    assert gradient_QC.sum(dim=1).abs().max() < 1e-13
    assert (gradient_QC * scores_QC).sum(dim=1).abs().max() < 1e-13


def test_closed_form_of_the_gradient_with_one_positive():
    scores_QC, _ = random_problem()
    target_Q = torch.tensor([3, 7, 0, 1, 299])
    _, gradient_QC = evaluate(ZLoss(0.7, 3.0), scores_QC, one_hot(target_Q, 300))
    deviation_Q1 = scores_QC.std(dim=1, correction=0, keepdim=True)
    z_QC = (scores_QC - scores_QC.mean(dim=1, keepdim=True)) / deviation_Q1
    z_Q1 = z_QC.gather(1, target_Q.unsqueeze(1))
    g_Q1 = (0.7 * (3.0 - z_Q1)).sigmoid()
    truth_QC = -g_Q1 / deviation_Q1 * (one_hot(target_Q, 300).double() - 1 / 300 - z_Q1 * z_QC / 300)
    torch.testing.assert_close(gradient_QC, truth_QC, rtol=1e-12, atol=1e-14)


def test_gradcheck():
    scores_QC, relevance_QC = random_problem(4, 6)
    leaf_QC = scores_QC.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: ZLoss(0.7, 1.0)(LossInputs.from_dense(s, relevance_QC)), (leaf_QC,))


@pytest.mark.parametrize("labels", [2, 3, 300])
def test_the_largest_z_is_that_of_a_one_hot_row(labels):
    row_QC = one_hot(torch.tensor([1]), labels).double()
    value_Q, gradient_QC = evaluate(ZLoss(), row_QC, row_QC)
    assert value_Q.item() == pytest.approx(math.log1p(math.exp(-math.sqrt(labels - 1))))
    assert gradient_QC.abs().max() < 1e-12  # nothing to gain: z cannot be larger
    torch.manual_seed(0)
    random_Q, _ = evaluate(ZLoss(), torch.randn(200, labels, dtype=torch.float64), row_QC.expand(200, -1))
    assert (random_Q >= value_Q - 1e-12).all()


def test_a_large_sharpness_gives_the_hinge():
    scores_QC, relevance_QC = random_problem()
    z_QC = (scores_QC - scores_QC.mean(dim=1, keepdim=True)) / scores_QC.std(dim=1, correction=0, keepdim=True)
    hinge_Q = (relevance_QC * (1.5 - z_QC).clamp(min=0)).sum(dim=1) / relevance_QC.sum(dim=1).clamp(min=1e-30)
    value_Q, _ = evaluate(ZLoss(1e5, 1.5), scores_QC, relevance_QC)
    torch.testing.assert_close(value_Q, hinge_Q, rtol=0, atol=1e-5)


@pytest.mark.parametrize("labels", [1, 2, 1001])
@pytest.mark.parametrize("score", [0.0, 0.1, -7e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_equal_scores_have_a_finite_value_and_no_gradient(labels, score, dtype):
    scores_QC = torch.full((2, labels), score, dtype=dtype)
    relevance_QC = torch.zeros(2, labels)
    relevance_QC[0, 0] = 1.0
    value_Q, gradient_QC = evaluate(ZLoss(2.0, 1.0), scores_QC, relevance_QC)
    assert value_Q.tolist() == pytest.approx([math.log1p(math.exp(2.0)) / 2, 0.0])
    assert (gradient_QC == 0).all()


def test_scores_that_differ_by_rounding_alone_count_as_equal():
    scores_QC = torch.full((1, 1000), 900.0)
    scores_QC[0, ::2] = torch.nextafter(scores_QC[0, ::2], torch.tensor(torch.inf))
    _, gradient_QC = evaluate(ZLoss(), scores_QC, one_hot(torch.tensor([0]), 1000))
    assert (gradient_QC == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sharpness": 0.0}, "sharpness must be"), ({"location": math.inf}, "location must be finite")],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ZLoss(**options)
