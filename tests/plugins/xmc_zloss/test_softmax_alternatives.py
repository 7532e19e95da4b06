"""Invariants: the contract; probabilities add up to 1 and are positive; blind to the sign; squared error; gradcheck."""

import math

import pytest
import torch
from dense_losses import evaluate
from torch.nn.functional import mse_loss

from xmc.api import LossInputs
from xmc.testing import check_loss
from xmc_zloss.sparse_mse import SparseMse
from xmc_zloss.spherical_softmax import SphericalSoftmax
from xmc_zloss.taylor_softmax import TaylorSoftmax

LOSSES = [TaylorSoftmax(), TaylorSoftmax(0.1), SphericalSoftmax(), SphericalSoftmax(1.0), SparseMse()]
WEIGHTS_OF = {
    TaylorSoftmax(): lambda o: 1 + o + o * o / 2,
    TaylorSoftmax(0.1): lambda o: 1 + 10 * o + 50 * o * o,
    SphericalSoftmax(): lambda o: o * o + 0.01,
    SphericalSoftmax(1.0): lambda o: o * o + 1,
}


def random_problem(queries=5, labels=40):
    torch.manual_seed(0)
    relevance_QC = (torch.rand(queries, labels) < 0.1).double() * torch.rand(queries, labels).add(0.5)
    relevance_QC[:, -1] = 1.0
    relevance_QC[2:3] = 0.0
    return 2 * torch.randn(queries, labels, dtype=torch.float64) - 0.5, relevance_QC


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_keeps_the_contract(loss):
    check_loss(loss)


@pytest.mark.parametrize("loss", WEIGHTS_OF, ids=str)
def test_equals_the_loop_oracle(loss):
    scores_QC, relevance_QC = random_problem()
    value_Q, _ = evaluate(loss, scores_QC, relevance_QC)
    for value, row, weights in zip(value_Q.tolist(), scores_QC.tolist(), relevance_QC.tolist(), strict=True):
        total = sum(WEIGHTS_OF[loss](o) for o in row)
        terms = [-w * math.log(WEIGHTS_OF[loss](o) / total) for o, w in zip(row, weights, strict=True) if w > 0]
        assert value == pytest.approx(sum(terms) / sum(weights) if terms else 0.0, rel=1e-12)


@pytest.mark.parametrize("loss", WEIGHTS_OF, ids=str)
@pytest.mark.parametrize("labels", [1, 2, 40])
def test_probabilities_are_positive_and_add_up_to_1(loss, labels):
    """The loss of a query whose only positive is label l is −log p_l."""
    scores_QC = random_problem(1, labels)[0].expand(labels, -1)
    value_Q, _ = evaluate(loss, scores_QC, torch.eye(labels))
    probabilities_L = (-value_Q).exp()
    assert (probabilities_L > 0).all()
    assert probabilities_L.sum().item() == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gradcheck(loss):
    scores_QC, relevance_QC = random_problem(4, 6)
    leaf_QC = scores_QC.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(LossInputs.from_dense(s, relevance_QC)), (leaf_QC,))


def test_the_spherical_softmax_is_blind_to_the_sign():
    scores_QC, relevance_QC = random_problem()
    value_Q, gradient_QC = evaluate(SphericalSoftmax(), scores_QC, relevance_QC)
    mirrored_Q, mirrored_QC = evaluate(SphericalSoftmax(), -scores_QC, relevance_QC)
    torch.testing.assert_close(mirrored_Q, value_Q)
    torch.testing.assert_close(mirrored_QC, -gradient_QC)


def test_with_a_tiny_eps_the_spherical_softmax_is_blind_to_the_scale():
    scores_QC, relevance_QC = random_problem()
    value_Q, gradient_QC = evaluate(SphericalSoftmax(eps=1e-14), scores_QC, relevance_QC)
    scaled_Q, _ = evaluate(SphericalSoftmax(eps=1e-14), 7 * scores_QC, relevance_QC)
    torch.testing.assert_close(scaled_Q, value_Q, rtol=1e-9, atol=1e-9)
    assert (gradient_QC * scores_QC).sum(dim=1).abs().max() < 1e-9


def test_at_small_scores_the_taylor_softmax_is_the_softmax_to_second_order():
    scores_QC, relevance_QC = random_problem()
    small_QC = 0.01 * scores_QC
    value_Q, _ = evaluate(TaylorSoftmax(), small_QC, relevance_QC)
    softmax_Q = -(small_QC.log_softmax(dim=1) * relevance_QC).sum(dim=1) / relevance_QC.sum(dim=1).clamp(min=1e-30)
    torch.testing.assert_close(value_Q, softmax_Q, rtol=0, atol=1e-4)


def test_the_squared_error_is_torchs_on_the_dense_target():
    scores_QC, relevance_QC = random_problem()
    value_Q, gradient_QC = evaluate(SparseMse(), scores_QC, relevance_QC)
    has_positive_Q1 = (relevance_QC.sum(dim=1, keepdim=True) > 0).double()
    truth_Q = (mse_loss(scores_QC, relevance_QC, reduction="none") * has_positive_Q1).sum(dim=1)
    torch.testing.assert_close(value_Q, truth_Q, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient_QC, 2 * (scores_QC - relevance_QC) * has_positive_Q1, rtol=1e-12, atol=1e-12)


def test_the_squared_error_of_the_target_itself_is_0():
    _, relevance_QC = random_problem()
    value_Q, gradient_QC = evaluate(SparseMse(), relevance_QC, relevance_QC)
    assert value_Q.abs().max() < 1e-12 and gradient_QC.abs().max() < 1e-12


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TaylorSoftmax(0.0), "temperature must be a finite number > 0, got 0.0"),
        (lambda: SphericalSoftmax(-1.0), "eps must be a finite number > 0, got -1.0"),
    ],
)
def test_senseless_options_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
