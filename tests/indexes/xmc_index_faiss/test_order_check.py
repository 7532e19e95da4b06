"""Invariants: what one query's list is told is what it is told beside another; order, ties, NaN, infinity, no label."""

import itertools
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from xmc_index_faiss.index import is_ordered

SCORES = st.sampled_from([3.0, 2.0, 1.0, 0.0, -0.0, -1.0, math.inf, -math.inf, math.nan])
LISTS = st.lists(st.tuples(SCORES, st.sampled_from([5, 4, 0, -1])), min_size=1, max_size=6)


def arrays(found, queries):
    scores_K, rows_K = (np.array(column) for column in zip(*found, strict=True))
    return np.tile(scores_K.astype(np.float32), (queries, 1)), np.tile(rows_K.astype(np.int64), (queries, 1))


@given(LISTS)
def test_a_list_alone_and_beside_itself(found):
    alone = is_ordered(*arrays(found, 1))
    assert alone == is_ordered(*arrays(found, 2))
    scores = [score for score, _ in found]
    falling = all(a > b for a, b in itertools.pairwise(scores))
    assert alone == (falling and all(map(math.isfinite, scores)) and found[-1][1] >= 0)


def test_long_lists_and_none():
    scores_QK = np.arange(300, 0, -1, dtype=np.float32)[None]
    assert is_ordered(scores_QK, np.zeros((1, 300), np.int64))
    scores_QK[0, 150] = scores_QK[0, 149]
    assert not is_ordered(scores_QK, np.zeros((1, 300), np.int64))
    assert is_ordered(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))
