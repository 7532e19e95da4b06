"""Invariants of the histogram: shares sum to 1 and keep the mean; the loss is within its bound above that of the pairs;
the gradient is near; blocks and the two kinds of grid change nothing."""

from functools import partial

import dense_losses
import pytest
import torch

import xmc_mw.histogram as histogram
import xmc_mw.mann_whitney as mann_whitney
import xmc_mw.pair_kernel as pair_kernel
from xmc.api import LossInputs
from xmc_mw.histogram import negatives_histogram
from xmc_mw.mann_whitney import MannWhitney
from xmc_mw.pair_kernel import weighted_softplus

evaluate = partial(dense_losses.evaluate, of=torch.mean)  # a batch is one pool of pairs


def problem(queries=40, labels=200, spread=0.15):
    torch.manual_seed(0)
    relevance_QC = (torch.rand(queries, labels) < 0.02).double()
    return spread * torch.randn(queries, labels, dtype=torch.float64) + 0.2 * relevance_QC, relevance_QC


def loop_histogram(inputs, temperature, bin_width):
    """{node: share}, negative by negative."""
    negatives = inputs.scores_QC[inputs.relevance_QC == 0].tolist()
    shares = {}
    for score in negatives:
        place = score / temperature / bin_width
        below = int(place // 1)
        shares[below] = shares.get(below, 0.0) + (below + 1 - place) / len(negatives)
        shares[below + 1] = shares.get(below + 1, 0.0) + (place - below) / len(negatives)
    return shares


@pytest.mark.parametrize("dense_nodes", [histogram.MAX_DENSE_NODES, 1])
def test_it_is_the_loop_over_the_negatives_on_both_kinds_of_grid(dense_nodes, monkeypatch):
    monkeypatch.setattr(histogram, "MAX_DENSE_NODES", dense_nodes)
    inputs = LossInputs.from_dense(*problem(spread=3.0))
    nodes_G, share_G = negatives_histogram(inputs, temperature=0.1, bin_width=0.5)
    truth = loop_histogram(inputs, 0.1, 0.5)
    assert (nodes_G.diff() > 0.5 - 1e-9).all()
    for node, share in zip((nodes_G / 0.5).round().long().tolist(), share_G.tolist(), strict=True):
        assert share == pytest.approx(truth.pop(node, 0.0), abs=1e-12)
    assert not truth
    negatives = inputs.scores_QC[inputs.relevance_QC == 0] / 0.1
    assert share_G.sum().item() == pytest.approx(1.0) and (nodes_G @ share_G).item() == pytest.approx(negatives.mean())


@pytest.mark.parametrize("temperature", [0.05, 0.01])
@pytest.mark.parametrize("bin_width", [0.05, 0.1, 0.5])
def test_it_overestimates_within_its_bound_and_its_gradient_is_near(temperature, bin_width):
    scores_QC, relevance_QC = problem()
    exact, exact_QC = evaluate(MannWhitney(temperature, "pairs"), scores_QC, relevance_QC)
    near, near_QC = evaluate(MannWhitney(temperature, "histogram", bin_width), scores_QC, relevance_QC)
    error = (near.mean() - exact.mean()).item()
    assert 0 <= error <= bin_width**2 / 32
    assert (near_QC - exact_QC).norm() <= bin_width / 4 * exact_QC.norm()  # the slope is off by at most h/2 · max f''


def test_the_error_falls_with_the_square_of_the_bin():
    scores_QC, relevance_QC = problem()
    exact, _ = evaluate(MannWhitney(0.05, "pairs"), scores_QC, relevance_QC)
    wide, narrow = (
        (evaluate(MannWhitney(0.05, "histogram", width), scores_QC, relevance_QC)[0] - exact).mean()
        for width in (0.8, 0.2)
    )
    assert 12 < (wide / narrow).item() < 20


@pytest.mark.parametrize("form", ["pairs", "histogram"])
def test_blocks_change_nothing(form, monkeypatch):
    whole = evaluate(MannWhitney(form=form), *problem())
    for module in (histogram, pair_kernel):
        monkeypatch.setattr(module, "BLOCK_ELEMENTS", 500)
    blocked = evaluate(MannWhitney(form=form), *problem())
    for a, b in zip(whole, blocked, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_auto_takes_the_histogram_from_so_many_pairs_on(monkeypatch):
    scores_QC, relevance_QC = problem()
    pairs, binned, few = (
        evaluate(MannWhitney(form=form), scores_QC, relevance_QC)[0] for form in ("pairs", "histogram", "auto")
    )
    monkeypatch.setattr(mann_whitney, "MAX_AUTO_PAIRS", 10)
    many, _ = evaluate(MannWhitney(), scores_QC, relevance_QC)
    assert torch.equal(few, pairs) and torch.equal(many, binned) and not torch.equal(few, many)


def test_float32_counts_many_equal_negatives_without_losing_any():
    """2^25 halves added one by one in float32 would stop at 2^24."""
    scores_QC = torch.full((1, 2**25 + 1), 0.5)
    pair = torch.zeros(1, dtype=torch.int64)
    inputs = LossInputs(scores_QC, pair, pair, torch.ones(1))
    nodes_G, share_G = negatives_histogram(inputs, temperature=1.0, bin_width=1.0)
    assert nodes_G.tolist() == [0.0, 1.0] and share_G.tolist() == [0.5, 0.5]


def test_gradcheck_of_the_kernel_in_all_three():
    torch.manual_seed(0)
    tensors = tuple(torch.randn(count, dtype=torch.float64, requires_grad=True) for count in (4, 6, 6))
    assert torch.autograd.gradcheck(weighted_softplus, tensors)
