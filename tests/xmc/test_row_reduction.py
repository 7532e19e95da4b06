"""Invariants: equals the naive masked form, whatever the blocks, with and without skipped pairs and with one
temperature or one a query; passes gradcheck; writes into nothing; no NaN."""

from dataclasses import replace

import pytest
import torch

from xmc import row_reduction
from xmc.row_reduction import RowReduction, Skipped, reduce_rows

KINDS = [
    RowReduction("log-sum-exp", skip_positives=True, temperature=0.7),
    RowReduction("log-sum-exp", skip_positives=False, temperature=2.0),
    RowReduction("softplus-sum", skip_positives=True, temperature=0.7, bias=-1.5),
]
TEMPERATURES_Q = torch.tensor([0.5, 2.0, 0.1, 1.0, 7.0], dtype=torch.float64)


def problem(queries=5, columns=9, dtype=torch.float64):
    torch.manual_seed(0)
    scores_QC = torch.randn(queries, columns, dtype=dtype) * 3
    is_positive_QC = torch.rand(queries, columns) < 0.3
    is_positive_QC[0, -1] = True
    is_positive_QC[1] = False
    rows_P, columns_P = is_positive_QC.nonzero(as_tuple=True)
    return scores_QC, is_positive_QC, rows_P, columns_P


def some_skipped(is_positive_QC):
    """Two in five of the others, all of them in row 3."""
    is_skipped_QC = ~is_positive_QC & (torch.rand(is_positive_QC.shape) < 0.4)
    is_skipped_QC[3] = ~is_positive_QC[3]
    return is_skipped_QC, Skipped(*is_skipped_QC.nonzero(as_tuple=True))


def naive(scores_QC, is_positive_QC, reduction, is_skipped_QC=None):
    temperature = reduction.temperature
    logits_QC = scores_QC / (temperature if isinstance(temperature, float) else temperature[:, None]) + reduction.bias
    counted_QC = logits_QC.masked_fill(is_positive_QC, -torch.inf) if reduction.skip_positives else logits_QC
    if is_skipped_QC is not None:
        counted_QC = counted_QC.masked_fill(is_skipped_QC, -torch.inf)
    if reduction.kind == "log-sum-exp":
        return logits_QC[is_positive_QC], counted_QC.logsumexp(dim=1)
    return logits_QC[is_positive_QC], torch.nn.functional.softplus(counted_QC, threshold=1e3).sum(dim=1)


@pytest.mark.parametrize("each_query", [False, True])
@pytest.mark.parametrize("skipping", [False, True])
@pytest.mark.parametrize("reduction", KINDS, ids=str)
@pytest.mark.parametrize("block_elements", [1, 18, 27, 10**6])
def test_equals_the_naive_form_in_value_and_gradient_for_any_block_size(
    reduction, block_elements, skipping, each_query, monkeypatch
):
    monkeypatch.setattr(row_reduction, "BLOCK_ELEMENTS_CPU", block_elements)
    scores_QC, is_positive_QC, rows_P, columns_P = problem()
    is_skipped_QC, skipped = some_skipped(is_positive_QC) if skipping else (None, None)
    if each_query:
        reduction = replace(reduction, temperature=TEMPERATURES_Q)
    answers = []
    for function in (
        lambda leaf: reduce_rows(leaf, rows_P, columns_P, reduction, skipped),
        lambda leaf: naive(leaf, is_positive_QC, reduction, is_skipped_QC),
    ):
        leaf_QC = scores_QC.clone().requires_grad_()
        logits_P, reduced_Q = function(leaf_QC)
        torch.manual_seed(1)
        finite_Q = reduced_Q.masked_fill(reduced_Q.isinf(), 0.0)  # a row without columns has no gradient
        total = (logits_P * torch.randn(len(logits_P))).sum() + (finite_Q * torch.randn(len(reduced_Q))).sum()
        answers.append((logits_P, reduced_Q, torch.autograd.grad(total, leaf_QC)[0].nan_to_num(nan=0.0)))
    for fast, slow in zip(*answers, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)
    if skipping:
        assert (answers[0][2][is_skipped_QC] == 0).all()


@pytest.mark.parametrize("reduction", KINDS, ids=str)
@pytest.mark.parametrize("level", [-1e4, 1e4])
def test_skipped_scores_far_above_the_others_make_no_nan(reduction, level):
    """At such a column exp(logit − log-sum) overflows on the way back."""
    scores_QC, is_positive_QC, rows_P, columns_P = problem(dtype=torch.float32)
    is_skipped_QC, skipped = some_skipped(is_positive_QC)
    leaf_QC = scores_QC.masked_fill(is_skipped_QC, level).requires_grad_()
    logits_P, reduced_Q = reduce_rows(leaf_QC, rows_P, columns_P, reduction, skipped)
    loss_P = torch.nn.functional.softplus(reduced_Q[rows_P] - logits_P)
    (gradient_QC,) = torch.autograd.grad(loss_P.sum(), leaf_QC)
    assert loss_P.isfinite().all() and gradient_QC.isfinite().all() and (gradient_QC[is_skipped_QC] == 0).all()


@pytest.mark.parametrize("reduction", KINDS, ids=str)
def test_gradcheck_and_once_only(reduction):
    scores_QC, _, rows_P, columns_P = problem()
    leaf_QC = scores_QC.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: reduce_rows(s, rows_P, columns_P, reduction), (leaf_QC,))
    _, reduced_Q = reduce_rows(leaf_QC, rows_P, columns_P, reduction)
    with pytest.raises(NotImplementedError, match="once, not twice"):
        torch.autograd.grad(reduced_Q.sum(), leaf_QC, create_graph=True)


def test_a_kept_graph_can_be_walked_twice():
    scores_QC, _, rows_P, columns_P = problem()
    leaf_QC = scores_QC.requires_grad_()
    _, reduced_Q = reduce_rows(leaf_QC, rows_P, columns_P, KINDS[0])
    (first,) = torch.autograd.grad(reduced_Q.sum(), leaf_QC, retain_graph=True)
    (second,) = torch.autograd.grad(reduced_Q.sum(), leaf_QC)
    assert torch.equal(first, second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("reduction", KINDS, ids=str)
def test_half_precision_is_computed_in_single_and_its_gradient_only_rounded(reduction, dtype):
    scores_QC, is_positive_QC, rows_P, columns_P = problem(dtype=dtype)
    leaf_QC, true_QC = scores_QC.clone().requires_grad_(), scores_QC.double().requires_grad_()
    logits_P, reduced_Q = reduce_rows(leaf_QC, rows_P, columns_P, reduction)
    true_P, true_Q = naive(true_QC, is_positive_QC, reduction)
    assert logits_P.dtype == reduced_Q.dtype == torch.float32
    torch.testing.assert_close(reduced_Q.double(), true_Q, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits_P.double(), true_P, rtol=1e-5, atol=1e-5)
    (gradient_QC,) = torch.autograd.grad(reduced_Q.sum() + logits_P.sum(), leaf_QC)
    (truth_QC,) = torch.autograd.grad(true_Q.sum() + true_P.sum(), true_QC)
    assert gradient_QC.dtype == dtype
    torch.testing.assert_close(gradient_QC.double(), truth_QC, rtol=torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("reduction", KINDS, ids=str)
@pytest.mark.parametrize("level", [-1e4, 1e4])
def test_rows_with_all_positives_and_extreme_scores_make_no_nan(reduction, level):
    leaf_QC = torch.full((3, 4), level).requires_grad_()
    is_positive_QC = torch.tensor([[True] * 4, [False] * 4, [True, False, False, True]])
    rows_P, columns_P = is_positive_QC.nonzero(as_tuple=True)
    logits_P, reduced_Q = reduce_rows(leaf_QC, rows_P, columns_P, reduction)
    assert not reduced_Q.isnan().any() and reduced_Q[1:].isfinite().all()
    (gradient_QC,) = torch.autograd.grad(reduced_Q[1:].sum() + logits_P.sum(), leaf_QC)
    assert gradient_QC.isfinite().all()


def test_no_queries_and_no_pairs():
    none_P = torch.zeros(0, dtype=torch.long)
    logits_P, reduced_Q = reduce_rows(torch.zeros(0, 3), none_P, none_P, KINDS[0])
    assert logits_P.shape == reduced_Q.shape == (0,)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("reduction", KINDS, ids=str)
def test_a_gpu_answers_as_the_processor(reduction, dtype, monkeypatch):
    """In several blocks, some pairs skipped; a float64 gradient goes where the scores were, one of 16 bits does not."""
    monkeypatch.setattr(row_reduction, "BLOCK_ELEMENTS_GPU", 9_000)
    scores_QC, is_positive_QC, rows_P, columns_P = problem(queries=50, columns=900, dtype=dtype)
    _, skipped = some_skipped(is_positive_QC)
    answers = []
    for device in ("cpu", "cuda"):
        leaf_QC = scores_QC.to(device).requires_grad_()
        there = [indices.to(device) for indices in (rows_P, columns_P)]
        left_out = Skipped(skipped.rows_S.to(device), skipped.columns_S.to(device))
        logits_P, reduced_Q = reduce_rows(leaf_QC, *there, reduction, left_out)
        gradients = torch.autograd.grad(logits_P.sum() + reduced_Q[:3].square().sum(), leaf_QC)
        answers.append([tensor.detach().cpu() for tensor in (logits_P, reduced_Q, *gradients)])
    for processor, gpu in zip(*answers, strict=True):
        tolerance = 1e-10 if dtype == torch.float64 else 2e-2
        torch.testing.assert_close(gpu, processor, rtol=tolerance, atol=tolerance)
