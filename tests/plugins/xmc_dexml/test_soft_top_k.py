"""Invariants: the contract; the definition by bisection; hard top k and softmax as its limits; k >= C is 0, not NaN."""

import math

import pytest
import torch
from dense_losses import evaluate
from repetitions import only_in_full

from xmc.api import LossInputs
from xmc.testing import check_loss
from xmc_dexml.soft_top_k import SoftTopK


def loop_oracle(scores, relevance, k, alpha, temperature):
    """The definition, label by label, with t by halving."""
    values = []
    for row, weights in zip(scores, relevance, strict=True):
        low, high = -1e3, 1e3
        for _ in range(200):
            t = (low + high) / 2
            total = sum(0.5 + 0.5 * math.tanh(alpha * (s / temperature + t) / 2) for s in row)
            low, high = (t, high) if total < k else (low, t)
        pairs = [(w, math.log1p(math.exp(-alpha * (s / temperature + t)))) for s, w in zip(row, weights, strict=True)]
        weight_sum = sum(weights)
        values.append(sum(w * loss for w, loss in pairs) / weight_sum if weight_sum else 0.0)
    return values


def random_problem(queries=6, labels=30):
    torch.manual_seed(0)
    relevance_QC = (torch.rand(queries, labels) < 0.15).double() * torch.rand(queries, labels).add(0.5)
    relevance_QC[:, -1] = 1.0
    relevance_QC[2] = 0.0
    return torch.randn(queries, labels, dtype=torch.float64), relevance_QC


@pytest.mark.parametrize(
    "loss",
    [
        SoftTopK(),
        SoftTopK(k=1, alpha=20.0),
        SoftTopK(k="positives", temperature=0.05),
    ],
    ids=str,
)
def test_keeps_the_contract(loss):
    check_loss(loss)


@pytest.mark.parametrize(
    "loss",
    [
        SoftTopK(k=11),
        pytest.param(SoftTopK(k=12), marks=only_in_full),
        pytest.param(SoftTopK(k=100), marks=only_in_full),
        SoftTopK(alpha=400.0),
    ],
    ids=str,
)
def test_keeps_the_contract_where_nearly_all_labels_are_wanted_or_the_edge_is_sharp(loss):
    """Of the kit's 12 labels; the loss is then next to nothing."""
    check_loss(loss, teaches=False)


@pytest.mark.parametrize(("k", "alpha", "temperature"), [(5, 2.0, 1.0), (1, 1.0, 0.3), (20, 3.0, 2.0)])
def test_equals_the_loop_oracle(k, alpha, temperature):
    scores_QC, relevance_QC = random_problem()
    value_Q, _ = evaluate(SoftTopK(k=k, alpha=alpha, temperature=temperature), scores_QC, relevance_QC)
    expected = loop_oracle(scores_QC.tolist(), relevance_QC.tolist(), k, alpha, temperature)
    assert value_Q.tolist() == pytest.approx(expected, rel=1e-9)


def test_k_may_be_the_number_of_positives_of_each_query():
    scores_QC, relevance_QC = random_problem()
    value_Q, _ = evaluate(SoftTopK(k="positives"), scores_QC, relevance_QC)
    for row, count in enumerate((relevance_QC > 0).sum(dim=1).tolist()):
        (alone,) = loop_oracle([scores_QC[row].tolist()], [relevance_QC[row].tolist()], count or 1, 2.0, 1.0)
        assert value_Q[row].item() == pytest.approx(alone, rel=1e-9)


def test_gradcheck_and_each_row_of_the_gradient_sums_to_0():
    scores_QC, relevance_QC = random_problem(3, 12)
    leaf_QC = scores_QC.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: SoftTopK(k=3)(LossInputs.from_dense(s, relevance_QC)), (leaf_QC,))
    _, gradient_QC = evaluate(SoftTopK(k=3), scores_QC, relevance_QC)
    assert gradient_QC.abs().max() > 0.1 and gradient_QC.sum(dim=1).abs().max() < 1e-12


@pytest.mark.parametrize("k", [1, 5, 100])
def test_a_shift_of_the_scores_changes_nothing(k):
    scores_QC, relevance_QC = random_problem(6, 200)
    value_Q, gradient_QC = evaluate(SoftTopK(k=k), scores_QC, relevance_QC)
    shifted_Q, shifted_QC = evaluate(SoftTopK(k=k), scores_QC + 30, relevance_QC)
    torch.testing.assert_close(shifted_Q, value_Q, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(shifted_QC, gradient_QC, rtol=1e-11, atol=1e-11)


def test_a_large_alpha_gives_the_indicator_of_the_k_best():
    scores_QC, _ = random_problem(6, 200)
    best_QC = torch.zeros_like(scores_QC).scatter(1, scores_QC.topk(5, dim=1).indices, 1.0)
    for relevance_QC, expected in ((best_QC, 0.0), (1 - best_QC, math.inf)):
        value_Q, _ = evaluate(SoftTopK(k=5, alpha=4e3), scores_QC, relevance_QC)
        assert (value_Q < 0.02).all() if expected == 0 else (value_Q > 100).all()


def test_with_one_place_and_many_labels_it_is_near_the_cross_entropy_of_the_softmax():
    torch.manual_seed(0)
    scores_QC = torch.randn(2, 50_000, dtype=torch.float64)
    relevance_QC = torch.zeros_like(scores_QC)
    relevance_QC[:, 7] = 1.0
    value_Q, gradient_QC = evaluate(SoftTopK(k=1, alpha=1.0), scores_QC, relevance_QC)
    torch.testing.assert_close(value_Q, -scores_QC.log_softmax(dim=1)[:, 7], rtol=1e-3, atol=0)
    torch.testing.assert_close(gradient_QC[:, 8:], scores_QC.softmax(dim=1)[:, 8:], rtol=3e-3, atol=0)


def test_more_places_forgive_more():
    scores_QC, relevance_QC = random_problem(6, 200)
    values = torch.stack([evaluate(SoftTopK(k=k), scores_QC, relevance_QC)[0] for k in (1, 5, 50, 199, 200)])
    has_positive_Q = relevance_QC.sum(dim=1) > 0
    assert (values.diff(dim=0)[:, has_positive_Q] < 0).all()


@pytest.mark.parametrize("k", [4, 5, 1000])
def test_a_shortlist_of_no_more_than_k_labels_teaches_nothing(k):
    value_Q, gradient_QC = evaluate(SoftTopK(k=k), torch.randn(3, 4), torch.tensor([[1.0, 0, 0, 1]] * 3))
    assert (value_Q == 0).all() and (gradient_QC == 0).all()
    value_Q, gradient_QC = evaluate(SoftTopK(k="positives"), torch.randn(1, 4), torch.ones(1, 4))
    assert (value_Q == 0).all() and (gradient_QC == 0).all()


@pytest.mark.parametrize("gap", [50.0, 500.0, 5000.0])
def test_a_positive_far_outside_the_k_best_still_learns(gap):
    scores_QC = torch.tensor([[gap, gap, 0.0, 0.0, 0.0]])
    value_Q, gradient_QC = evaluate(SoftTopK(k=2, alpha=1.0), scores_QC, [[0.0, 0, 0, 0, 1]])
    assert value_Q.item() == pytest.approx(gap / 2, rel=0.02)
    assert gradient_QC[0, 4] < -0.7 and (gradient_QC[0, :2] > 0.2).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_scores_are_worked_on_in_float32(dtype):
    scores_QC, relevance_QC = random_problem(6, 1000)
    value_Q, gradient_QC = evaluate(SoftTopK(), scores_QC.to(dtype), relevance_QC)
    truth_Q, truth_QC = evaluate(SoftTopK(), scores_QC.to(dtype).double(), relevance_QC.to(dtype).double())
    assert value_Q.dtype == torch.float32 and gradient_QC.dtype == dtype
    torch.testing.assert_close(value_Q.double(), truth_Q, rtol=1e-5, atol=1e-5)
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(gradient_QC.double(), truth_QC, rtol=max(2 * eps, 1e-4), atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be a whole number >= 1 or 'positives', got 0"),
        ({"k": "all"}, "k must be a whole number >= 1 or 'positives', got 'all'"),
        ({"alpha": 0.0}, "alpha must be a finite number > 0"),
        ({"temperature": math.nan}, "temperature must be a finite number > 0"),
    ],
)
def test_senseless_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SoftTopK(**options)
