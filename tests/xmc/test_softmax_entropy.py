"""Invariants: logits and sums are those of the reduction; the entropy is that of the dense softmax, by its definition
and as a derivative, whatever the blocks; large logits cost no digits; a row without columns has none."""

from dataclasses import replace

import pytest
import torch
from torch.special import entr

from xmc import row_reduction
from xmc.row_reduction import RowReduction, Skipped, reduce_rows
from xmc.softmax_entropy import softmax_entropy

TEMPERATURES_Q = torch.tensor([0.5, 2.0, 0.3, 1.0], dtype=torch.float64)
REDUCTIONS = [
    RowReduction("log-sum-exp", skip_positives=True, temperature=0.7),
    RowReduction("log-sum-exp", skip_positives=True, temperature=TEMPERATURES_Q),
    RowReduction("log-sum-exp", skip_positives=False, temperature=TEMPERATURES_Q),
]


def problem(dtype=torch.float64):
    torch.manual_seed(0)
    kind_QC = torch.rand(4, 11)
    kind_QC[1] = 0.1  # all of one row positive
    is_positive_QC, is_skipped_QC = kind_QC < 0.3, kind_QC > 0.8
    skipped = Skipped(*is_skipped_QC.nonzero(as_tuple=True))
    return 3 * torch.randn(4, 11, dtype=dtype), is_positive_QC, is_skipped_QC, skipped


def left_out(is_positive_QC, is_skipped_QC, reduction):
    return is_skipped_QC | (is_positive_QC & torch.tensor(reduction.skip_positives))


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=str)
@pytest.mark.parametrize("block_elements", [1, 22, 10**6])
def test_equals_the_definition_for_any_block_size(reduction, block_elements, monkeypatch):
    monkeypatch.setattr(row_reduction, "BLOCK_ELEMENTS_CPU", block_elements)
    scores_QC, is_positive_QC, is_skipped_QC, skipped = problem()
    pairs = is_positive_QC.nonzero(as_tuple=True)
    before_QC = scores_QC.clone()
    logits_P, log_sum_Q, entropy_Q = softmax_entropy(scores_QC, *pairs, reduction, skipped)
    assert torch.equal(scores_QC, before_QC)
    for mine, other in zip((logits_P, log_sum_Q), reduce_rows(scores_QC, *pairs, reduction, skipped), strict=True):
        torch.testing.assert_close(mine, other)
    logits_QC = reduction.logits(scores_QC, slice(0, 4))
    logits_QC = logits_QC.masked_fill(left_out(is_positive_QC, is_skipped_QC, reduction), -torch.inf)
    truth_Q = entr(logits_QC.softmax(dim=1)).sum(dim=1).nan_to_num(nan=0.0)
    torch.testing.assert_close(entropy_Q, truth_Q, rtol=1e-12, atol=1e-12)


def test_it_is_the_log_sum_less_its_derivative_in_the_inverse_temperature():
    """By autograd through the dense form: d log Σ exp(β s) / dβ = Σ softmax · s, the sum of p · s over the row."""
    scores_QC, is_positive_QC, is_skipped_QC, skipped = problem()
    inverse_Q = TEMPERATURES_Q.reciprocal().requires_grad_()
    out_QC = left_out(is_positive_QC, is_skipped_QC, REDUCTIONS[2])
    dense_Q = (scores_QC * inverse_Q[:, None]).masked_fill(out_QC, -torch.inf).logsumexp(dim=1)
    (mean_score_Q,) = torch.autograd.grad(dense_Q.sum(), inverse_Q)
    entropy_Q = softmax_entropy(scores_QC, *is_positive_QC.nonzero(as_tuple=True), REDUCTIONS[2], skipped)[2]
    torch.testing.assert_close(entropy_Q, (dense_Q - inverse_Q * mean_score_Q).detach())


def test_large_logits_cost_no_digits_and_no_columns_have_no_entropy():
    none = torch.zeros(0, dtype=torch.long)
    reduction = RowReduction("log-sum-exp", skip_positives=True, temperature=1e-3)
    scores_QC = torch.tensor([[1e4, 1e4, -1e4, 0.0]])
    assert softmax_entropy(scores_QC, none, none, reduction)[2].exp().item() == pytest.approx(2, rel=1e-6)
    pairs = torch.ones(1, 4).nonzero(as_tuple=True)
    logits_P, log_sum_Q, entropy_Q = softmax_entropy(scores_QC, *pairs, replace(reduction, temperature=1.0))
    assert log_sum_Q.item() == -torch.inf and entropy_Q.item() == 0.0 and logits_P.tolist() == scores_QC[0].tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    scores_QC, is_positive_QC, _, skipped = problem(dtype)
    pairs = is_positive_QC.nonzero(as_tuple=True)
    half = softmax_entropy(scores_QC, *pairs, REDUCTIONS[0], skipped)
    for mine, truth in zip(half, softmax_entropy(scores_QC.double(), *pairs, REDUCTIONS[0], skipped), strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine.double(), truth, rtol=1e-5, atol=1e-5)
