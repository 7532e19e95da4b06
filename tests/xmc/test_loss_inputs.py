"""Invariants of LossInputs: pairs and matrix agree; the reductions equal their naive lines."""

import dataclasses

import pytest
import torch

from xmc.api import LossInputs


@pytest.fixture
def relevance_QC():
    return torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)


@pytest.fixture
def inputs(relevance_QC):
    torch.manual_seed(0)
    return LossInputs.from_dense(torch.randn(3, 4, dtype=torch.float64), relevance_QC)


def test_pairs_and_matrix_say_the_same(inputs, relevance_QC):
    assert inputs.positive_rows_P.tolist() == [0, 0, 2, 2, 2, 2]
    assert inputs.positive_columns_P.tolist() == [1, 3, 0, 1, 2, 3]
    assert inputs.positive_weights_P.tolist() == [2, 1, 1, 1, 1, 1]
    assert torch.equal(inputs.relevance_QC, relevance_QC)
    assert inputs.positive_weight_sum_Q.tolist() == [3, 0, 4]


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"scores \(2, 3\) and relevance \(2, 4\) must agree"):
        LossInputs.from_dense(torch.zeros(2, 3), torch.zeros(2, 4))


@pytest.mark.parametrize("over", ["negatives", "all"])
def test_log_sum_exp(inputs, over):
    logits_P, log_sum_Q = inputs.log_sum_exp(over, temperature=0.5)
    logits_QC = inputs.scores_QC / 0.5
    counted_QC = logits_QC.masked_fill(inputs.relevance_QC > 0, -torch.inf) if over == "negatives" else logits_QC
    torch.testing.assert_close(log_sum_Q, counted_QC.logsumexp(dim=1))
    torch.testing.assert_close(logits_P, logits_QC[inputs.relevance_QC > 0])
    assert (log_sum_Q[2] == -torch.inf) == (over == "negatives")  # the last query has no negatives


def test_softplus_sum(inputs):
    logits_P, sum_Q = inputs.softplus_sum(temperature=2.0, bias=0.3)
    logits_QC = inputs.scores_QC / 2.0 + 0.3
    torch.testing.assert_close(sum_Q, (logits_QC.exp().log1p() * (inputs.relevance_QC == 0)).sum(dim=1))
    torch.testing.assert_close(logits_P, logits_QC[inputs.relevance_QC > 0])


def test_sum_over_positives_is_weighted_and_0_without_any(inputs):
    values_P = torch.arange(1.0, 7.0)
    assert inputs.sum_over_positives(values_P).tolist() == [2 * 1 + 2, 0, 3 + 4 + 5 + 6]
    assert inputs.sum_over_positives(values_P, mean=True).tolist() == pytest.approx([4 / 3, 0, 4.5])


@pytest.mark.parametrize("over", ["negatives", "all"])
def test_log_sum_exp_over_a_sample_divides_by_the_inclusion_probability_where_asked(inputs, over):
    log_inclusion_C = torch.tensor([-2.0, 0.0, -0.5, 0.0])
    sampled = dataclasses.replace(inputs, log_inclusion_C=log_inclusion_C)
    shifted = dataclasses.replace(inputs, scores_QC=inputs.scores_QC - 0.5 * log_inclusion_C)
    for mine, truth in zip(
        sampled.log_sum_exp(over, temperature=0.5, correct_sampling=True),
        shifted.log_sum_exp(over, temperature=0.5),
        strict=True,
    ):
        torch.testing.assert_close(mine, truth)
    for unasked in (sampled.log_sum_exp(over), inputs.log_sum_exp(over, correct_sampling=True)):
        assert all(map(torch.equal, unasked, inputs.log_sum_exp(over)))


def test_skipped_pairs_are_neither_positives_nor_negatives(inputs):
    assert inputs.counted_QC.all() and inputs.label_counts_Q.tolist() == [4, 4, 4]
    assert inputs.negative_counts_Q.tolist() == [2, 4, 0]
    skipping = dataclasses.replace(
        inputs, skipped_rows_S=torch.tensor([0, 1, 1]), skipped_columns_S=torch.tensor([2, 0, 3])
    )
    expected = [[True, True, False, True], [False, True, True, False], [True] * 4]
    assert skipping.counted_QC.tolist() == expected
    assert skipping.label_counts_Q.tolist() == [3, 2, 4] and skipping.negative_counts_Q.tolist() == [1, 2, 0]
    assert torch.equal(skipping.relevance_QC, inputs.relevance_QC)
    with pytest.raises(ValueError, match="cannot leave out skipped pairs"):
        skipping.moments()


@pytest.mark.parametrize("over", ["negatives", "all"])
def test_a_temperature_of_a_query_is_that_of_its_row_alone(inputs, over):
    temperatures = [0.5, 2.0, 1.0]
    log_inclusion_C = torch.tensor([-2.0, 0.0, -0.5, 0.0])
    sampled = dataclasses.replace(inputs, log_inclusion_C=log_inclusion_C)
    _, mine_Q = sampled.log_sum_exp(over, temperature=torch.tensor(temperatures), correct_sampling=True)
    for row, temperature in enumerate(temperatures):
        _, truth_Q = sampled.log_sum_exp(over, temperature=temperature, correct_sampling=True)
        torch.testing.assert_close(mine_Q[row], truth_Q[row])
