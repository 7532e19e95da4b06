"""Invariants: the join equals a dictionary look-up per hit; bad input is refused by name; inputs are not changed."""

import numpy as np
import pytest
from hypothesis import given
from ranking_cases import LABELS, as_hits, as_positives, judged, rankings, untimed

from xmc.errors import ConfigError, DataError
from xmc.evaluate.relevance import at_ranks, ideal_at_ranks, judge_hits, relevant_at_ranks
from xmc.values import Hits, Positives


@untimed
@given(rankings())
def test_relevance_equals_a_look_up_per_hit(case):
    ranked, truth = case
    expected = [of_query.get(row, 0.0) for hits, of_query in zip(ranked, truth, strict=True) for row in hits]
    assert judged(ranked, truth).relevance_H.tolist() == expected


@untimed
@given(rankings())
def test_relevant_at_ranks_pads_with_false_and_cuts_at_k(case):
    ranked, truth = case
    for k in (1, 2, 5, 10**12):
        width = min(k, max(len(hits) for hits in ranked))
        expected = [
            [rank < len(hits) and hits[rank] in of_query for rank in range(width)]
            for hits, of_query in zip(ranked, truth, strict=True)
        ]
        got = relevant_at_ranks(as_hits(ranked), as_positives(truth), k, labels=LABELS)
        assert got.dtype == bool
        assert got.tolist() == expected


@untimed
@given(rankings())
def test_the_ideal_ranking_is_the_sorted_weights(case):
    _, truth = case
    positives = as_positives(truth)
    ideal_QK = ideal_at_ranks(positives.weights, positives.offsets, 4)
    for row, of_query in zip(ideal_QK.tolist(), truth, strict=True):
        best = sorted(of_query.values(), reverse=True)[:4]
        assert row == best + [0.0] * (len(row) - len(best))


def test_inputs_are_not_changed_and_may_be_read_only():
    hits, positives = as_hits([[3, 1], [0]]), as_positives([{1: 1.0, 0: 1.0}, {2: 1.0}])
    for value in (hits, positives):
        for array in vars(value).values():
            array.setflags(write=False)
    assert judge_hits(hits, positives, labels=4).relevance_H.tolist() == [0.0, 1.0, 0.0]


def test_keys_do_not_overflow_for_many_labels():
    last = 2**31 - 1
    case = judged([[last, 0]] * 3, [{last: 1.0}, {0: 1.0}, {1: 1.0}], labels=2**31)
    assert case.relevance_H.tolist() == [1, 0, 0, 1, 0, 0]


def test_no_query_at_all():
    assert relevant_at_ranks(as_hits([]), as_positives([]), 5, labels=3).shape == (0, 0)
    assert at_ranks(np.array([]), np.array([0, 0, 0]), 5).shape == (2, 0)


@pytest.mark.parametrize(
    ("ranked", "truth", "message"),
    [
        ([[1]], [{1: 1.0}, {}], "hits of 1 query but positives of 2"),
        ([[1], [2, 3, 2]], [{}, {}], "hits: query row 1 has label row 2 twice"),
        ([[-1]], [{1: 1.0}], "hits: query row 0 has label row -1; allowed are 0 to 11"),
        ([[1], [LABELS]], [{}, {}], "hits: query row 1 has label row 12; allowed"),
        ([[1]], [{LABELS: 1.0}], "positives: query row 0 has label row 12; allowed"),
        ([[1]], [{1: 0.0}], "weights must be finite and above 0"),
        ([[1]], [{1: float("nan")}], "weights must be finite and above 0"),
        ([[1]], [{1: float("inf")}], "weights must be finite and above 0"),
    ],
)
def test_what_does_not_fit_is_refused(ranked, truth, message):
    with pytest.raises(DataError, match=message):
        judged(ranked, truth)


def test_twice_the_same_positive_is_refused():
    positives = Positives(np.array([0, 2]), np.array([4, 4]), np.ones(2))
    with pytest.raises(DataError, match="positives: query row 0 has label row 4 twice"):
        judge_hits(as_hits([[1]]), positives, labels=LABELS)


@pytest.mark.parametrize("offsets", [[0, 3], [1, 2], [0, 2, 1, 2], [0], []])
def test_offsets_that_do_not_fit_are_refused(offsets):
    hits = Hits(np.array(offsets, dtype=np.int64), np.array([0, 1]), np.array([0.1, 0.2]))
    positives = Positives(hits.offsets, np.array([0, 1]), np.ones(2))
    with pytest.raises(DataError, match="hits: offsets must rise from 0 to the 2 label rows"):
        judge_hits(hits, positives, labels=LABELS)


def test_a_weight_or_score_missing_is_refused():
    with pytest.raises(DataError, match="one weight"):
        judge_hits(as_hits([[1]]), Positives(np.array([0, 1]), np.array([1]), np.ones(2)), labels=LABELS)


def test_k_below_one_is_refused():
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        relevant_at_ranks(as_hits([[1]]), as_positives([{}]), 0, labels=LABELS)
