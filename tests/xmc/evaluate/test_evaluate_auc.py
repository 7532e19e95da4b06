"""Invariants: AUC is the share of pairs in the right order, ties a half; the pool is as defined, query by query; a
monotone map changes nothing, a number added to the scores of each query ruins the AUC and no ranking metric."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from ranking_cases import LABELS, as_hits, as_positives
from sklearn.metrics import roc_auc_score

from xmc.errors import DataError
from xmc.evaluate.auc import pooled_auc, roc_auc
from xmc.evaluate.report import evaluate_hits
from xmc.ranking import rank_hits
from xmc.values import Positives

some_scores = st.lists(st.sampled_from([-3.0, -0.5, 0.0, 0.25, 1.0, 8.0]), min_size=1, max_size=12)


def loop_auc(positives, negatives):
    """The definition, pair by pair."""
    points = 0.0
    for positive in positives:
        for negative in negatives:
            points += 1.0 if positive > negative else 0.5 if positive == negative else 0.0
    return points / (len(positives) * len(negatives))


def mid_rank_auc(positives, negatives):
    """The rank formula: (rank sum of the positives − n (n + 1) / 2) / (n · m), equal scores sharing their mean rank."""
    everything = sorted([*positives, *negatives])
    rank_sum = sum(everything.index(s) + (everything.count(s) + 1) / 2 for s in positives)
    return (rank_sum - len(positives) * (len(positives) + 1) / 2) / (len(positives) * len(negatives))


@given(some_scores, some_scores)
def test_auc_is_the_loop_over_pairs_the_rank_formula_and_that_of_scikit_learn(positives, negatives):
    value = roc_auc(np.array(positives), np.array(negatives))
    assert value == pytest.approx(loop_auc(positives, negatives), abs=1e-12)
    assert value == pytest.approx(mid_rank_auc(positives, negatives), abs=1e-12)
    truth = [1] * len(positives) + [0] * len(negatives)
    assert value == pytest.approx(roc_auc_score(truth, positives + negatives), abs=1e-12)


@given(some_scores, some_scores)
def test_a_monotone_map_changes_nothing_and_exchanging_the_sides_mirrors_it(positives, negatives):
    positive_P, negative_N = np.array(positives), np.array(negatives)
    value = roc_auc(positive_P, negative_N)
    assert roc_auc(np.exp(positive_P) - 7, np.exp(negative_N) - 7) == value
    assert roc_auc(negative_N, positive_P) == pytest.approx(1 - value, abs=1e-12)


def test_extremes_and_empty_sides():
    low, high = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    assert (roc_auc(high, low), roc_auc(low, high), roc_auc(low, low)) == (1.0, 0.0, 0.5)
    assert roc_auc(high, low[:0]) is None and roc_auc(high[:0], low) is None


@st.composite
def scored_queries(draw):
    """Scores of every label for a few queries, with ties, and the relevant labels of each, maybe none."""
    queries = draw(st.integers(1, 4))
    row = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, 3.0]), min_size=LABELS, max_size=LABELS)
    scores_QL = np.array([draw(row) for _ in range(queries)], dtype=np.float32)
    truth = [dict.fromkeys(sorted(draw(st.sets(st.integers(0, LABELS - 1), max_size=4))), 1.0) for _ in range(queries)]
    return scores_QL, truth


def searched(scores_QL, k):
    queries, labels = scores_QL.shape
    rows, columns = np.divmod(np.arange(queries * labels), labels)
    return rank_hits(rows, columns, scores_QL.ravel(), queries=queries, k=k)


def pooled(scores_QL, truth, top_negatives, k=LABELS):
    positives = as_positives(truth)
    scores_P = scores_QL[positives.query_rows(), positives.label_rows]
    return pooled_auc(searched(scores_QL, k), positives, scores_P, labels=LABELS, top_negatives=top_negatives)


@given(scored_queries(), st.integers(1, 13))
def test_the_pool_is_as_defined(case, top_negatives):
    scores_QL, truth = case
    positives, negatives, fewer = [], [], 0
    for row, relevant in zip(scores_QL.tolist(), truth, strict=True):
        if relevant:
            others = sorted((score for label, score in enumerate(row) if label not in relevant), reverse=True)
            positives += [row[label] for label in relevant]
            negatives += others[:top_negatives]
            fewer += len(others) < top_negatives
    result = pooled(scores_QL, truth, top_negatives, k=min(LABELS, top_negatives + 4))
    assert sorted(result.negative_scores_N.tolist()) == sorted(negatives)
    assert (result.auc.positives, result.auc.negatives) == (len(positives), len(negatives))
    assert result.auc.queries == sum(bool(relevant) for relevant in truth)
    assert result.auc.queries_with_fewer_negatives == fewer and result.auc.top_negatives == top_negatives
    assume(positives)
    assert result.auc.value == pytest.approx(loop_auc(positives, negatives), abs=1e-12)


def test_more_negatives_are_easier():
    scores_QL = np.random.default_rng(0).normal(size=(30, LABELS)).astype(np.float32)
    truth = [{query % LABELS: 1.0} for query in range(30)]
    values = [pooled(scores_QL, truth, top).auc.value for top in (1, 3, 11)]
    assert values == sorted(values) and values[0] < values[-1]


def test_a_number_added_to_the_scores_of_each_query_ruins_it_and_leaves_precision():
    generator = np.random.default_rng(0)
    scores_QL = generator.normal(size=(200, LABELS)).astype(np.float32)
    truth = [{query % LABELS: 1.0} for query in range(200)]
    scores_QL[np.arange(200), np.arange(200) % LABELS] += 3
    shifted_QL = scores_QL + 20 * generator.normal(size=(200, 1)).astype(np.float32)
    before, after = (pooled(each, truth, 5).auc.value for each in (scores_QL, shifted_QL))
    assert before > 0.9 and after < 0.6
    figures = [
        evaluate_hits(
            searched(each, 10), as_positives(truth), train_counts_L=np.ones(LABELS, int), train_queries=9
        ).overall.figures["P@1"]
        for each in (scores_QL, shifted_QL)
    ]
    assert figures[0] == figures[1]


def test_there_must_be_a_score_for_each_positive():
    with pytest.raises(DataError, match="one score for each of the 2 positives, got shape"):
        pooled_auc(as_hits([[1, 2]]), as_positives([{1: 1.0, 3: 1.0}]), np.ones(1), labels=LABELS, top_negatives=5)


def test_without_any_positive_there_is_no_auc():
    none = Positives(np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    result = pooled_auc(as_hits([[1, 2]]), none, np.zeros(0), labels=LABELS, top_negatives=5)
    assert result.auc.value is None and (result.auc.queries, result.auc.negatives) == (0, 0)
