"""nDCG@k: equals the loop and scikit-learn, is 1 for the ideal ranking, and graded equals binary for equal weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_cases import LABELS, as_positives, judged, oracle_dcg, rankings, relevant, untimed

from xmc.errors import ConfigError
from xmc.evaluate.ndcg import graded_ndcg_at_k, ndcg_at_k
from xmc.evaluate.relevance import at_ranks, ideal_at_ranks


def graded(ranked, truth, k):
    case, positives = judged(ranked, truth), as_positives(truth)
    gains_QK = at_ranks(case.relevance_H, case.hits.offsets, LABELS)
    return graded_ndcg_at_k(gains_QK, ideal_at_ranks(positives.weights, positives.offsets, LABELS), k)


def oracle_ndcg(hits, of_query, k):
    ideal = oracle_dcg(sorted(of_query.values(), reverse=True)[:k])
    return oracle_dcg([of_query.get(row, 0.0) for row in hits[:k]]) / ideal if ideal else 0.0


@untimed
@given(rankings(), st.integers(1, 15))
def test_binary_and_graded_equal_the_loop(case, k):
    ranked, truth = case
    ones = [dict.fromkeys(of_query, 1.0) for of_query in truth]
    binary = [oracle_ndcg(hits, of_query, k) for hits, of_query in zip(ranked, ones, strict=True)]
    weighted = [oracle_ndcg(hits, of_query, k) for hits, of_query in zip(ranked, truth, strict=True)]
    assert ndcg_at_k(*relevant(ranked, truth), k) == pytest.approx(binary, abs=1e-12)
    assert graded(ranked, truth, k) == pytest.approx(weighted, abs=1e-6)  # weights are float32
    assert graded(ranked, ones, k) == pytest.approx(binary, abs=1e-6)


@untimed
@given(st.permutations(range(LABELS)), rankings(max_queries=1), st.integers(1, LABELS))
def test_full_rankings_equal_scikit_learn(ranking, case, k):
    from sklearn.metrics import ndcg_score

    truth = case[1][0] or {0: 0.5}
    relevance_L = np.array([[truth.get(row, 0.0) for row in range(LABELS)]])
    scores_L = np.empty((1, LABELS))
    scores_L[0, list(ranking)] = -np.arange(LABELS)
    ours = graded([list(ranking)], [truth], k)[0]
    assert ours == pytest.approx(ndcg_score(relevance_L, scores_L, k=k, ignore_ties=True), abs=1e-6)
    ours = ndcg_at_k(*relevant([list(ranking)], [truth]), k)[0]
    assert ours == pytest.approx(ndcg_score(relevance_L > 0, scores_L, k=k, ignore_ties=True), abs=1e-12)


def test_by_hand():
    found, counts = relevant([[9, 3, 7]], [{3: 1.0, 7: 1.0}])
    expected = (1 / np.log2(3) + 1 / np.log2(4)) / (1 / np.log2(2) + 1 / np.log2(3))
    assert ndcg_at_k(found, counts, 3).tolist() == pytest.approx([expected])


def test_the_ideal_ranking_has_one_and_no_positive_has_zero():
    assert ndcg_at_k(*relevant([[5, 2], []], [{2: 1.0, 5: 1.0}, {}]), 10).tolist() == [1.0, 0.0]
    assert graded([[5, 2], []], [{2: 0.5, 5: 2.0}, {}], 10).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("metric", [ndcg_at_k, graded_ndcg_at_k])
def test_k_below_one_is_refused(metric):
    with pytest.raises(ConfigError, match="got 0"):
        metric(np.array([[1.0]]), np.array([[1]]), 0)
