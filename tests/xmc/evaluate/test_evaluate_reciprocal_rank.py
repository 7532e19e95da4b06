"""RR@k: the first relevant rank within k, 0 when there is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_cases import rankings, relevant, untimed

from xmc.errors import ConfigError
from xmc.evaluate.reciprocal_rank import reciprocal_rank_at_k


def oracle_reciprocal_rank(hits, of_query, k):
    for position, label_row in enumerate(hits[:k]):
        if label_row in of_query:
            return 1 / (position + 1)
    return 0.0


@untimed
@given(rankings(), st.integers(1, 15))
def test_equals_the_loop(case, k):
    ranked, truth = case
    expected = [oracle_reciprocal_rank(hits, of_query, k) for hits, of_query in zip(ranked, truth, strict=True)]
    assert reciprocal_rank_at_k(*relevant(ranked, truth), k).tolist() == expected


def test_no_query_has_a_hit():
    assert reciprocal_rank_at_k(*relevant([[], []], [{1: 1.0}, {}]), 3).tolist() == [0.0, 0.0]


def test_k_below_one_is_refused():
    with pytest.raises(ConfigError, match="got 0"):
        reciprocal_rank_at_k(np.array([[True]]), np.array([1]), 0)
