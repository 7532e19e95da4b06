"""Invariants: torch's own mean and variance; any block size; gradcheck; no digits lost to a large mean; once only."""

import pytest
import torch

from xmc import row_reduction
from xmc.row_moments import row_moments


def problem(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.randn(5, 9, dtype=dtype) * 3 + 1, torch.tensor([0, 0, 3, 4]), torch.tensor([1, 8, 2, 0])


def naive(scores_QC, rows_P, columns_P):
    return scores_QC[rows_P, columns_P], scores_QC.mean(dim=1), scores_QC.var(dim=1, correction=0)


@pytest.mark.parametrize("block_elements", [1, 18, 10**6])
def test_equals_the_naive_form_in_value_and_gradient_for_any_block_size(block_elements, monkeypatch):
    monkeypatch.setattr(row_reduction, "BLOCK_ELEMENTS_CPU", block_elements)
    scores_QC, rows_P, columns_P = problem()
    answers = []
    for function in (row_moments, naive):
        leaf_QC = scores_QC.clone().requires_grad_()
        values = function(leaf_QC, rows_P, columns_P)
        torch.manual_seed(1)
        total = sum((each * torch.randn(len(each))).sum() for each in values)
        answers.append((*values, *torch.autograd.grad(total, leaf_QC)))
    for fast, slow in zip(*answers, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)


def test_gradcheck_and_once_only():
    scores_QC, rows_P, columns_P = problem()
    leaf_QC = scores_QC.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: row_moments(s, rows_P, columns_P), (leaf_QC,))
    with pytest.raises(NotImplementedError, match="once, not twice"):
        torch.autograd.grad(row_moments(leaf_QC, rows_P, columns_P)[2].sum(), leaf_QC, create_graph=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_mean_far_above_the_spread_costs_no_digits(dtype):
    """E[o²] − E[o]² in float32 would be noise here: the mean is 10,000 times the deviation."""
    torch.manual_seed(0)
    scores_QC = (1000 + 0.1 * torch.randn(2, 20_000)).to(dtype)
    leaf_QC = scores_QC.clone().requires_grad_()
    _, mean_Q, variance_Q = row_moments(leaf_QC, torch.tensor([0]), torch.tensor([0]))
    torch.testing.assert_close(mean_Q, scores_QC.double().mean(dim=1), rtol=1e-12, atol=0)
    torch.testing.assert_close(variance_Q, scores_QC.double().var(dim=1, correction=0), rtol=1e-9, atol=0)
    (gradient_QC,) = torch.autograd.grad(mean_Q.sum(), leaf_QC)
    assert gradient_QC.dtype == dtype and mean_Q.dtype == torch.float64
