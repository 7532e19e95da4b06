"""R@k: the divisor is the number of positives; it never falls as k grows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_cases import LABELS, rankings, relevant, untimed

from xmc.errors import ConfigError
from xmc.evaluate.recall import recall_at_k


@untimed
@given(rankings(), st.integers(1, 15))
def test_equals_the_loop(case, k):
    ranked, truth = case
    expected = [
        sum(row in of_query for row in hits[:k]) / len(of_query) if of_query else 0.0
        for hits, of_query in zip(ranked, truth, strict=True)
    ]
    assert recall_at_k(*relevant(ranked, truth), k).tolist() == expected


@untimed
@given(rankings())
def test_never_falls_with_k_and_stays_within_0_and_1(case):
    values_KQ = np.stack([recall_at_k(*relevant(*case), k) for k in range(1, LABELS + 2)])
    assert (np.diff(values_KQ, axis=0) >= 0).all()
    assert values_KQ.min() >= 0
    assert values_KQ.max() <= 1


def test_more_positives_than_k_keep_it_below_one():
    assert recall_at_k(*relevant([[0, 1]], [{0: 1.0, 1: 1.0}]), 1).tolist() == [0.5]


def test_k_below_one_is_refused():
    with pytest.raises(ConfigError, match="got -2"):
        recall_at_k(np.array([[True]]), np.array([1]), -2)
