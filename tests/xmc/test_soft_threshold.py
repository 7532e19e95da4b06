"""Invariants: memberships add up to k; few passes; equals bisection in value and gradient, for any block; no NaN."""

import pytest
import torch

from xmc import row_reduction, threshold_solver
from xmc.row_reduction import Skipped
from xmc.soft_threshold import top_k_logits
from xmc.threshold_solver import solve_threshold


def bisection(scores_QC, k, slope):
    """The shift t of each row by halving the bracket 200 times, in float64 and on Σ alone."""
    logits_QC = scores_QC.double() * slope
    middle = torch.logit(torch.tensor(k / scores_QC.shape[1], dtype=torch.float64))
    low_Q, high_Q = middle - logits_QC.amax(dim=1), middle - logits_QC.amin(dim=1)
    for _ in range(200):
        shift_Q = (low_Q + high_Q) / 2
        too_low_Q = (logits_QC + shift_Q.unsqueeze(1)).sigmoid().sum(dim=1) < k
        low_Q, high_Q = torch.where(too_low_Q, shift_Q, low_Q), torch.where(too_low_Q, high_Q, shift_Q)
    return shift_Q


def memberships(scores_RC, centre_R, shift_R, slope):
    return ((scores_RC.double() - centre_R.double().unsqueeze(1)) * slope + shift_R.unsqueeze(1)).sigmoid()


def every_pair(scores_QC):
    return torch.ones(scores_QC.shape).nonzero(as_tuple=True)


def two_levels(rows=3, many=3000, few=20):
    """A few labels far above the rest, as after training."""
    return torch.cat([torch.randn(rows, many) * 1.5, torch.randn(rows, few) * 3 + 12], dim=1)


@pytest.fixture
def passes(monkeypatch):
    counted = []
    original = threshold_solver._memberships
    monkeypatch.setattr(threshold_solver, "_memberships", lambda *a: counted.append(1) or original(*a))
    return counted


@pytest.mark.parametrize("k", [1, 5, 100])
@pytest.mark.parametrize("slope", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_memberships_add_up_to_k_after_few_passes(k, slope, dtype, passes):
    torch.manual_seed(0)
    for scores_RC in (torch.randn(3, 3000) * 2, two_levels(), 1e-3 * torch.randn(3, 3000), torch.randn(3, 3000) ** 3):
        passes.clear()
        scores_RC = scores_RC.to(dtype)
        centre_R, shift_R = solve_threshold(scores_RC, torch.full((3,), k), slope=slope)
        sums_R = memberships(scores_RC, centre_R, shift_R, slope).sum(dim=1)
        assert ((sums_R - k).abs() <= (1e-5 if dtype == torch.float32 else 1e-12) * k).all()
        assert len(passes) <= 12  # halving alone takes 25 to 60


@pytest.mark.parametrize(("k", "spread"), [(5, 1e-3), (100, 1e-3), (5, 2.0), (100, 0.0)])
def test_of_1_300_000_labels_at_the_start_of_training(k, spread, passes):
    torch.manual_seed(0)
    scores_RC = spread * torch.randn(1, 1_300_000)
    for slope in (2.0, 20.0):
        passes.clear()
        centre_R, shift_R = solve_threshold(scores_RC, torch.tensor([k]), slope=slope)
        assert memberships(scores_RC, centre_R, shift_R, slope).sum().item() == pytest.approx(k, rel=1e-5)
        assert len(passes) <= 10


@pytest.mark.parametrize("k", [1, 3, 8, 11])
def test_equals_bisection_in_value_and_gradient(k):
    torch.manual_seed(0)
    scores_QC = 2 * torch.randn(4, 12, dtype=torch.float64)
    rows_P, columns_P = every_pair(scores_QC)
    leaf_QC, k_Q = scores_QC.clone().requires_grad_(), torch.full((4,), k)
    logits_P = top_k_logits(leaf_QC, rows_P, columns_P, k_Q, slope=1.5)
    truth_QC = 1.5 * scores_QC + bisection(scores_QC, k, 1.5).unsqueeze(1)
    torch.testing.assert_close(logits_P.view(4, 12), truth_QC, rtol=1e-9, atol=1e-9)
    upstream_P = torch.randn_like(logits_P)
    (gradient_QC,) = torch.autograd.grad(logits_P, leaf_QC, upstream_P)
    step = 1e-5
    for row, column in [(0, 0), (1, 3), (2, 7), (3, 11)]:
        nudge_QC = torch.zeros_like(scores_QC)
        nudge_QC[row, column] = step
        ends = [1.5 * s + bisection(s, k, 1.5).unsqueeze(1) for s in (scores_QC + nudge_QC, scores_QC - nudge_QC)]
        slope = ((ends[0] - ends[1]) * upstream_P.view(4, 12)).sum() / (2 * step)
        assert gradient_QC[row, column].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-7)


def test_gradcheck_and_once_only():
    torch.manual_seed(0)
    leaf_QC = torch.randn(3, 9, dtype=torch.float64, requires_grad=True)
    rows_P, columns_P, k_Q = torch.tensor([0, 0, 2]), torch.tensor([1, 4, 8]), torch.tensor([2, 1, 5])
    assert torch.autograd.gradcheck(lambda s: top_k_logits(s, rows_P, columns_P, k_Q, slope=2.0), (leaf_QC,))
    logits_P = top_k_logits(leaf_QC, rows_P, columns_P, k_Q, slope=2.0)
    with pytest.raises(NotImplementedError, match="once, not twice"):
        torch.autograd.grad(logits_P.sum(), leaf_QC, create_graph=True)


@pytest.mark.parametrize("block_elements", [1, 600, 10**6])
def test_the_size_of_the_blocks_changes_nothing(block_elements, monkeypatch):
    torch.manual_seed(0)
    scores_QC, k_Q = torch.randn(5, 300, dtype=torch.float64), torch.tensor([1, 5, 300, 0, 7])
    rows_P, columns_P = torch.tensor([0, 0, 1, 2, 4, 4]), torch.tensor([3, 200, 7, 5, 0, 299])
    answers = []
    for elements in (2**18, block_elements):
        monkeypatch.setattr(row_reduction, "BLOCK_ELEMENTS_CPU", elements)
        leaf_QC = scores_QC.clone().requires_grad_()
        logits_P = top_k_logits(leaf_QC, rows_P, columns_P, k_Q, slope=2.0)
        answers.append((logits_P, *torch.autograd.grad(logits_P, leaf_QC, torch.arange(6.0, dtype=torch.float64))))
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_no_place_and_a_place_for_everyone():
    leaf_QC = torch.randn(3, 4, requires_grad=True)
    rows_P, columns_P = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 2])
    logits_P = top_k_logits(leaf_QC, rows_P, columns_P, torch.tensor([4, 9, 0]), slope=2.0)
    assert logits_P.tolist() == [float("inf"), float("inf"), float("-inf")]
    (gradient_QC,) = torch.autograd.grad(logits_P[:2].sum(), leaf_QC)
    assert (gradient_QC == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gap", [30.0, 100.0, 1000.0])
def test_between_labels_far_apart_the_threshold_is_in_the_middle(dtype, gap):
    """Σ − k is 0 to the last digit all over the gap; by symmetry the root is its middle, and both sides take half."""
    leaf_QC = torch.tensor([[gap, gap, 0.0, 0.0]], dtype=dtype, requires_grad=True)
    logits_P = top_k_logits(leaf_QC, *every_pair(leaf_QC), torch.tensor([2]), slope=1.0)
    torch.testing.assert_close(logits_P, torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=dtype) * gap / 2)
    (gradient_QC,) = torch.autograd.grad(logits_P[3], leaf_QC)
    torch.testing.assert_close(gradient_QC, torch.tensor([[-0.25, -0.25, -0.25, 0.75]], dtype=dtype))


def skipping(queries=6, columns=40, dtype=torch.float64):
    """Scores, positives, and skipped labels: none in row 0, most in row 1, all but two in row 2, else two in five."""
    torch.manual_seed(3)
    kind_QC = torch.rand(queries, columns)
    kind_QC[:, 7] = 0.05  # one positive for sure
    is_positive_QC, is_skipped_QC = kind_QC < 0.1, kind_QC > 0.6
    is_skipped_QC[0], is_skipped_QC[1] = False, (kind_QC[1] > 0.2)
    is_skipped_QC[2, :] = ~is_positive_QC[2]
    is_positive_QC[2, 8:], is_skipped_QC[2, 8:] = False, True
    is_skipped_QC[2, 9] = False
    return 2 * torch.randn(queries, columns, dtype=dtype), is_positive_QC, is_skipped_QC & ~is_positive_QC


@pytest.mark.parametrize("block_elements", [1, 80, 10**6])
@pytest.mark.parametrize("k", [1, 3, 12])
def test_a_skipped_label_is_one_that_is_not_there(k, block_elements, monkeypatch):
    """Row by row against the scores without its columns; among them rows with no more than k labels left."""
    monkeypatch.setattr(row_reduction, "BLOCK_ELEMENTS_CPU", block_elements)
    scores_QC, is_positive_QC, is_skipped_QC = skipping()
    scores_QC[is_skipped_QC] += 50  # would take every place
    rows_P, columns_P = is_positive_QC.nonzero(as_tuple=True)
    skipped = Skipped(*is_skipped_QC.nonzero(as_tuple=True))
    leaf_QC, k_Q = scores_QC.clone().requires_grad_(), torch.full((len(scores_QC),), k)
    logits_P = top_k_logits(leaf_QC, rows_P, columns_P, k_Q, slope=1.5, skipped=skipped)
    (gradient_QC,) = torch.autograd.grad(torch.nn.functional.logsigmoid(logits_P).sum(), leaf_QC)
    assert (gradient_QC[is_skipped_QC] == 0).all()
    for row in range(len(scores_QC)):
        there = ~is_skipped_QC[row]
        alone_1C = scores_QC[row, there][None].requires_grad_()
        pairs = is_positive_QC[row, there][None].nonzero(as_tuple=True)
        alone_P = top_k_logits(alone_1C, *pairs, k_Q[:1], slope=1.5)
        (alone_gradient_1C,) = torch.autograd.grad(torch.nn.functional.logsigmoid(alone_P).sum(), alone_1C)
        torch.testing.assert_close(logits_P[rows_P == row], alone_P, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(gradient_QC[row, there], alone_gradient_1C[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("columns", [300, 5000])
@pytest.mark.parametrize("k", [1, 5, 100])
def test_with_most_labels_skipped_it_takes_few_passes_and_adds_up(k, columns, passes):
    """Groups of labels without a single one left included."""
    torch.manual_seed(0)
    scores_RC = torch.randn(4, columns)
    labels = max(columns // 20, k + 1)
    scores_RC[:, labels:] = -torch.inf
    labels_R = torch.full((4,), labels)
    centre_R, shift_R = solve_threshold(scores_RC, torch.full((4,), k), slope=2.0, labels_R=labels_R)
    sums_R = memberships(scores_RC, centre_R, shift_R, 2.0).sum(dim=1)
    assert centre_R.isfinite().all() and ((sums_R - k).abs() <= 1e-5 * k).all() and len(passes) <= 20


def test_a_row_without_any_label_left_has_no_threshold_and_makes_no_nan():
    scores_QC, none = torch.zeros(2, 3, requires_grad=True), torch.zeros(0, dtype=torch.long)
    skipped = Skipped(torch.zeros(3, dtype=torch.long), torch.arange(3))
    logits_P = top_k_logits(scores_QC, none + 1, none, torch.ones(2), slope=1.0, skipped=skipped)
    (gradient_QC,) = torch.autograd.grad(logits_P.sum(), scores_QC)
    assert (gradient_QC == 0).all()
