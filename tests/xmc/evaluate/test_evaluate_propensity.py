"""PSP@k and PSnDCG@k: equal the loop, lie within 0 and 1, count a rare label more; equal weights pool P@k."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_cases import LABELS, as_hits, as_positives, oracle_dcg, rankings, untimed

from xmc.errors import ConfigError, DataError
from xmc.evaluate.propensity import inverse_propensities, psndcg_at_k, psp_at_k
from xmc.evaluate.relevance import at_ranks, ideal_at_ranks, judge_hits

TRAIN_COUNTS = [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 89]


def oracle_weight(count, train_queries, a, b):
    c = (math.log(train_queries) - 1) * (b + 1) ** a
    return 1 + c * math.exp(-a * math.log(count + b))


WEIGHTS = [oracle_weight(count, 500, 0.55, 1.5) for count in TRAIN_COUNTS]


def gains(ranked, truth, weights=WEIGHTS, k=LABELS):
    hits, positives, weights_L = as_hits(ranked), as_positives(truth), np.array(weights)
    relevance_H = judge_hits(hits, positives, labels=LABELS).relevance_H
    found_QK = at_ranks(np.where(relevance_H > 0, weights_L[hits.label_rows], 0.0), hits.offsets, k)
    return found_QK, ideal_at_ranks(weights_L[positives.label_rows], positives.offsets, k), positives.counts()


def oracle_psp(ranked, truth, k):
    got = best = 0.0
    for hits, of_query in zip(ranked, truth, strict=True):
        got += sum(WEIGHTS[row] for row in hits[:k] if row in of_query) / k
        best += sum(sorted((WEIGHTS[row] for row in of_query), reverse=True)[:k]) / k
    return got / best


def oracle_psndcg(ranked, truth, k):
    got = best = 0.0
    for hits, of_query in zip(ranked, truth, strict=True):
        if not of_query:
            continue
        binary = oracle_dcg([1.0] * min(k, len(of_query)))
        got += oracle_dcg([WEIGHTS[row] if row in of_query else 0.0 for row in hits[:k]]) / binary
        best += oracle_dcg(sorted((WEIGHTS[row] for row in of_query), reverse=True)[:k]) / binary
    return got / best


@untimed
@given(rankings(), st.integers(1, 15))
def test_both_equal_the_loop_and_stay_within_0_and_1(case, k):
    ranked, truth = case
    truth = [*truth[:-1], truth[-1] or {4: 1.0}]  # the ratio needs one positive in the data set
    found_QK, ideal_QK, counts_Q = gains(ranked, truth)
    precision, ndcg = psp_at_k(found_QK, ideal_QK, k), psndcg_at_k(found_QK, ideal_QK, counts_Q, k)
    assert precision.value == pytest.approx(oracle_psp(ranked, truth, k), abs=1e-12)
    assert ndcg.value == pytest.approx(oracle_psndcg(ranked, truth, k), abs=1e-12)
    for figure in (precision, ndcg):
        assert -1e-12 <= figure.value <= 1 + 1e-12
        assert (figure.numerator_Q <= figure.denominator_Q + 1e-12).all()


@untimed
@given(rankings(), st.integers(1, 15))
def test_equal_weights_pool_the_precisions(case, k):
    ranked, truth = case
    truth = [*truth[:-1], truth[-1] or {4: 1.0}]
    found_QK, ideal_QK, _ = gains(ranked, truth, weights=[3.0] * LABELS)
    right = sum(row in of_query for hits, of_query in zip(ranked, truth, strict=True) for row in hits[:k])
    possible = sum(min(k, len(of_query)) for of_query in truth)
    assert psp_at_k(found_QK, ideal_QK, k).value == pytest.approx(right / possible)


def test_by_hand():
    # Weights 1 + C (n + B)^-A with N = e^3, A = 1, B = 1: C = 2 * 2 = 4, so 1 + 4 / (n + 1): 5 for n = 0, 2 for n = 3.
    e_cubed = round(math.exp(3))
    weights_L = inverse_propensities(np.array([0, 3]), e_cubed, a=1.0, b=1.0)
    assert weights_L.tolist() == pytest.approx([5.0, 2.0], abs=0.01)
    # Query 0 has both labels and finds the common one at rank 1; query 1 has the common one and finds it.
    found_QK, ideal_QK, _ = gains([[1, 9], [1]], [{0: 1.0, 1: 1.0}, {1: 1.0}], weights=[5.0, 2.0, *[1.0] * 10])
    assert psp_at_k(found_QK, ideal_QK, 1).value == pytest.approx((2 + 2) / (5 + 2))
    assert psp_at_k(found_QK, ideal_QK, 2).value == pytest.approx((2 + 2) / (7 + 2))


@pytest.mark.parametrize(("train_queries", "a", "b"), [(500, 0.55, 1.5), (1_000_000, 0.5, 0.4), (3, 0.6, 2.6)])
def test_weights_equal_the_loop_fall_with_frequency_and_are_at_least_one(train_queries, a, b):
    weights_L = inverse_propensities(np.array(TRAIN_COUNTS), train_queries, a=a, b=b)
    assert weights_L.tolist() == pytest.approx([oracle_weight(count, train_queries, a, b) for count in TRAIN_COUNTS])
    assert (np.diff(weights_L) <= 0).all()
    assert weights_L.min() >= 1


def test_a_rare_right_answer_counts_more_than_a_common_one():
    truth = [{0: 1.0, 11: 1.0}]
    rare, common = (psp_at_k(*gains([[row]], truth)[:2], 1).value for row in (0, 11))
    assert rare == 1.0
    assert common < 0.5


@pytest.mark.parametrize("train_queries", [0, 1, 2, -5])
def test_too_few_training_queries_are_refused(train_queries):
    with pytest.raises(DataError, match=f"at least 3 training queries, got {train_queries}"):
        inverse_propensities(np.array([1]), train_queries)


@pytest.mark.parametrize(("a", "b"), [(-0.1, 1.5), (0.5, 0.0), (0.5, float("nan")), (float("inf"), 1.0)])
def test_constants_that_make_no_propensity_are_refused(a, b):
    with pytest.raises(ConfigError, match="A >= 0 and B > 0"):
        inverse_propensities(np.array([1]), 10, a=a, b=b)


def test_constants_too_large_for_a_number_are_refused():
    with pytest.raises(ConfigError, match=r"must have a finite \(B \+ 1\)\^A, got A = 1e\+300 and B = 1\.5"):
        inverse_propensities(np.array([1]), 10, a=1e300)


def test_k_below_one_is_refused():
    found_QK, ideal_QK, counts_Q = gains([[1]], [{1: 1.0}])
    with pytest.raises(ConfigError, match="got 0"):
        psp_at_k(found_QK, ideal_QK, 0)
    with pytest.raises(ConfigError, match="got 0"):
        psndcg_at_k(found_QK, ideal_QK, counts_Q, 0)
