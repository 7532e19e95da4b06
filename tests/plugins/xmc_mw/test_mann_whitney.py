"""Invariants: the contract; the loop over pairs; what the loss bounds; which shifts it sees; one-class batches."""

import math
from functools import partial

import dense_losses
import pytest
import torch
from torch.nn.functional import softplus

from xmc.api import LossInputs
from xmc.engine.run_config import resolve
from xmc.plugin_manager import load_plugins
from xmc.testing import check_loss
from xmc_dexml.decoupled_softmax import DecoupledSoftmax
from xmc_mw.mann_whitney import MannWhitney

evaluate = partial(dense_losses.evaluate, of=torch.mean)  # a batch is one pool of pairs


def loop_oracle(scores_QC, relevance_QC, temperature):
    """The definition, pair by pair: each query's part of the weighted mean over the pairs, times Q."""
    cells = [(q, c) for q in range(scores_QC.shape[0]) for c in range(scores_QC.shape[1])]
    negatives = [scores_QC[cell].item() for cell in cells if relevance_QC[cell] == 0]
    weight_sum, parts = 0.0, [0.0] * scores_QC.shape[0]
    for query, column in cells:
        weight = relevance_QC[query, column].item()
        weight_sum += weight
        for negative in negatives if weight > 0 else ():
            difference = (negative - scores_QC[query, column].item()) / temperature
            parts[query] += weight * (max(difference, 0.0) + math.log1p(math.exp(-abs(difference)))) / len(negatives)
    return [part * len(parts) / weight_sum for part in parts]


def problem(queries=6, labels=30, weighted=True):
    """Cosine-like scores; query 2 has no positive, query 4 has every label as one."""
    torch.manual_seed(0)
    relevance_QC = (torch.rand(queries, labels) < 0.15).double()
    if weighted:
        relevance_QC *= torch.rand(queries, labels) + 0.5
    relevance_QC[2], relevance_QC[4] = 0.0, 1.0
    return torch.randn(queries, labels, dtype=torch.float64) * 0.15 + 0.2 * (relevance_QC > 0), relevance_QC


@pytest.mark.parametrize(
    "loss",
    [
        MannWhitney(),
        MannWhitney(form="pairs", temperature=1.0),
        MannWhitney(form="histogram"),
        MannWhitney(form="histogram", temperature=1.0, bin_width=0.5, mix=0.5),
        MannWhitney(mix=0.3),
        MannWhitney(mix=1.0),
    ],
)
def test_keeps_the_contract(loss):
    check_loss(loss, pool="batch")


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_pairs_equal_the_loop_over_pairs(temperature):
    scores_QC, relevance_QC = problem()
    loss_Q, _ = evaluate(MannWhitney(temperature=temperature, form="pairs"), scores_QC, relevance_QC)
    assert loss_Q.tolist() == pytest.approx(loop_oracle(scores_QC, relevance_QC, temperature), rel=1e-12)
    assert loss_Q[2] == 0


def test_the_mean_of_the_values_is_the_mean_over_the_pairs_of_the_pool():
    scores_QC, relevance_QC = problem(weighted=False)
    positives_P, negatives_N = scores_QC[relevance_QC > 0], scores_QC[relevance_QC == 0]
    truth = softplus((negatives_N - positives_P[:, None]) / 0.05, threshold=1e9).mean()
    loss_Q, _ = evaluate(MannWhitney(), scores_QC, relevance_QC)
    assert loss_Q.mean().item() == pytest.approx(truth.item(), rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.1, 0.01])
def test_the_share_of_pairs_in_the_wrong_order_is_bounded_by_the_loss(temperature):
    scores_QC, relevance_QC = problem(weighted=False)
    difference_PN = scores_QC[relevance_QC > 0][:, None] - scores_QC[relevance_QC == 0]
    area_over_curve = ((difference_PN < 0).double() + 0.5 * (difference_PN == 0)).mean().item()
    loss_Q, _ = evaluate(MannWhitney(temperature=temperature), scores_QC, relevance_QC)
    assert 0.05 < area_over_curve <= loss_Q.mean().item() / math.log(2)


def test_a_low_temperature_makes_it_the_mean_hinge():
    """τ · softplus(d / τ) -> max(d, 0): with the hinge's active pairs, the wrong order is all that is left."""
    scores_QC, relevance_QC = problem(weighted=False)
    difference_PN = scores_QC[relevance_QC == 0] - scores_QC[relevance_QC > 0][:, None]
    loss_Q, _ = evaluate(MannWhitney(temperature=1e-5), scores_QC, relevance_QC)
    assert 1e-5 * loss_Q.mean().item() == pytest.approx(
        difference_PN.clamp(min=0).mean().item(), abs=1e-5 * math.log(2)
    )


@pytest.mark.parametrize("form", ["pairs", "histogram"])
def test_equal_scores_give_log_2(form):
    _, relevance_QC = problem()
    loss_Q, _ = evaluate(MannWhitney(form=form), torch.zeros_like(relevance_QC), relevance_QC)
    assert loss_Q.mean().item() == pytest.approx(math.log(2), rel=1e-12)


def test_each_positive_is_pushed_by_all_negatives_and_the_gradient_sums_to_0():
    scores_QC, relevance_QC = problem(weighted=False)
    _, gradient_QC = evaluate(MannWhitney(temperature=0.1), scores_QC, relevance_QC)
    positives_P, negatives_N = scores_QC[relevance_QC > 0], scores_QC[relevance_QC == 0]
    sigmoid_PN = torch.sigmoid((negatives_N - positives_P[:, None]) / 0.1)
    torch.testing.assert_close(gradient_QC[relevance_QC > 0], -sigmoid_PN.mean(1) / 0.1 / len(positives_P))
    torch.testing.assert_close(gradient_QC[relevance_QC == 0], sigmoid_PN.mean(0) / 0.1 / len(negatives_N))
    assert gradient_QC.sum().abs() < 1e-15 * gradient_QC.abs().sum() * gradient_QC.numel()


def test_one_query_alone_is_its_own_mean_pairwise_loss():
    scores_QC, relevance_QC = torch.tensor([[0.3, 0.1, -0.2]]), torch.tensor([[1.0, 0.0, 0.0]])
    loss_Q, _ = evaluate(MannWhitney(temperature=0.1), scores_QC, relevance_QC)
    assert loss_Q.item() == pytest.approx((math.log1p(math.exp(-2)) + math.log1p(math.exp(-5))) / 2, rel=1e-6)


def test_a_number_added_to_all_scores_of_a_query_changes_it_and_not_the_decoupled_softmax():
    torch.manual_seed(1)
    relevance_QC = torch.eye(64, dtype=torch.float64)
    scores_QC = 0.1 * torch.randn(64, 64, dtype=torch.float64) + 0.3 * relevance_QC
    shifted_QC = scores_QC + 2 * torch.randn(64, 1, dtype=torch.float64)
    before, after = (
        evaluate(DecoupledSoftmax(temperature=0.05), each, relevance_QC)[0] for each in (scores_QC, shifted_QC)
    )
    torch.testing.assert_close(before, after)
    before, after = (evaluate(MannWhitney(), each, relevance_QC)[0].mean() for each in (scores_QC, shifted_QC))
    assert before < 0.1 and after > 10
    everyone = evaluate(MannWhitney(), scores_QC + 5.0, relevance_QC)[0].mean()
    assert everyone.item() == pytest.approx(before.item(), rel=1e-9), "one number for all queries changes nothing"


@pytest.mark.parametrize("form", ["pairs", "histogram"])
def test_the_order_of_queries_and_labels_does_not_matter(form):
    scores_QC, relevance_QC = problem()
    rows, columns = torch.randperm(6), torch.randperm(30)
    loss_Q, gradient_QC = evaluate(MannWhitney(form=form), scores_QC, relevance_QC)
    other_Q, other_QC = evaluate(MannWhitney(form=form), scores_QC[rows][:, columns], relevance_QC[rows][:, columns])
    torch.testing.assert_close(other_Q, loss_Q[rows])
    torch.testing.assert_close(other_QC, gradient_QC[rows][:, columns])


@pytest.mark.parametrize("form", ["auto", "pairs", "histogram"])
@pytest.mark.parametrize("mix", [0.0, 0.5])
@pytest.mark.parametrize("relevance", [0.0, 1.0])
def test_a_batch_of_one_class_gives_0_and_no_gradient(form, mix, relevance):
    scores_QC, _ = problem()
    loss_Q, gradient_QC = evaluate(MannWhitney(form=form, mix=mix), scores_QC, torch.full_like(scores_QC, relevance))
    assert (loss_Q == 0).all() and (gradient_QC == 0).all()


def test_negatives_of_a_query_without_positives_are_pushed_down():
    scores_QC, relevance_QC = problem()
    _, gradient_QC = evaluate(MannWhitney(), scores_QC, relevance_QC)
    assert (gradient_QC[2] > 0).all()


@pytest.mark.parametrize("mix", [0.25, 1.0])
def test_mix_is_a_weighted_mean_with_the_decoupled_softmax(mix):
    scores_QC, relevance_QC = problem()
    mixed = evaluate(MannWhitney(temperature=0.1, mix=mix), scores_QC, relevance_QC)
    pooled = evaluate(MannWhitney(temperature=0.1), scores_QC, relevance_QC)
    softmax = evaluate(DecoupledSoftmax(temperature=0.1), scores_QC, relevance_QC)
    for whole, a, b in zip(mixed, pooled, softmax, strict=True):
        torch.testing.assert_close(whole, (1 - mix) * a + mix * b)


def test_a_second_derivative_is_refused():
    scores_QC, relevance_QC = problem()
    loss_Q = MannWhitney()(LossInputs.from_dense(scores_QC.requires_grad_(), relevance_QC))
    with pytest.raises(NotImplementedError, match="once, not twice"):
        torch.autograd.grad(loss_Q.sum(), scores_QC, create_graph=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "temperature must be a finite number > 0"),
        ({"bin_width": math.nan}, "bin_width must be a finite number > 0"),
        ({"form": "bins"}, "form must be 'auto', 'pairs' or 'histogram'"),
        ({"mix": 1.5}, r"mix must lie in \[0, 1\]"),
    ],
)
def test_a_senseless_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        MannWhitney(**options)


def test_the_recipe_is_a_valid_configuration_of_this_loss():
    config = resolve(load_plugins(), plugin="mw")
    assert config.loss.options == MannWhitney(temperature=0.05, mix=0.7) and config.train.label_scope == "auto"
