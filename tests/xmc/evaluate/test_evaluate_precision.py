"""P@k: the divisor is k, whatever is missing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ranking_cases import rankings, relevant, untimed

from xmc.errors import ConfigError
from xmc.evaluate.precision import precision_at_k


@untimed
@given(rankings(), st.integers(1, 15))
def test_equals_the_loop(case, k):
    ranked, truth = case
    expected = [sum(row in of_query for row in hits[:k]) / k for hits, of_query in zip(ranked, truth, strict=True)]
    assert precision_at_k(*relevant(ranked, truth), k).tolist() == expected


def test_fewer_than_k_hits_or_positives_still_divides_by_k():
    assert precision_at_k(*relevant([[3]], [{3: 1.0}]), 5).tolist() == [0.2]


def test_k_below_one_is_refused():
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        precision_at_k(np.array([[True]]), np.array([1]), 0)
