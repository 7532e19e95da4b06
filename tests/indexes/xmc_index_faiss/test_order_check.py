"""Invariants: what one query's list is told is what it is told beside another; order, ties, NaN, infinity, no label."""

import itertools
import math

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from xmc_index_faiss.ordered import ordered_hits

SCORES = st.sampled_from([3.0, 2.0, 1.0, 0.0, -0.0, -1.0, math.inf, -math.inf, math.nan])
LISTS = st.lists(st.tuples(SCORES, st.sampled_from([5, 4, 0, -1])), min_size=1, max_size=6)


def arrays(found, queries):
    scores_K, rows_K = (np.array(column) for column in zip(*found, strict=True))
    return np.tile(scores_K.astype(np.float32), (queries, 1)), np.tile(rows_K.astype(np.int64), (queries, 1))


@given(LISTS)
@example([(3.0, -1), (2.0, 5)])
@example([(1.0, 5), (-0.0, 4)])  # by chance a list that falls, and is full, is rare
@example([(3.0, 5), (2.0, 0), (1.0, 4)])
@example([(3.0, 5), (2.0, 4), (math.inf, 0)])
@example([(2.0, 5), (1.0, 4), (-math.inf, 0)])
@example([(2.0, 0), (2.0, 4), (2.0, 5)])
@example([(2.0, 0), (0.0, 4), (-0.0, 5)])
@example([(2.0, 0), (2.0, 5), (2.0, 4)])
@example([(1.0, 0), (2.0, 4)])
def test_a_list_alone_and_beside_itself(found):
    alone, twice = (ordered_hits(*arrays(found, queries)) for queries in (1, 2))
    assert (alone is None) == (twice is None)
    scores, rows = zip(*found, strict=True)
    in_order = all(a > b or (a == b and row < other) for (a, row), (b, other) in itertools.pairwise(found))
    assert (alone is not None) == (in_order and all(map(math.isfinite, scores)) and min(rows) >= 0)
    for hits, queries in ((alone, 1), (twice, 2)) if alone else ():
        assert hits.offsets.tolist() == [len(found) * query for query in range(queries + 1)]
        assert hits.label_rows.tolist() == [*rows] * queries
        assert hits.scores.tolist() == [*scores] * queries and not np.signbit(hits.scores[hits.scores == 0]).any()
        assert (hits.offsets.dtype, hits.label_rows.dtype, hits.scores.dtype) == ("int64", "int64", "float32")


def test_long_lists_and_none():
    scores_QK = np.arange(300, 0, -1, dtype=np.float32)[None]
    assert ordered_hits(scores_QK, np.zeros((1, 300), np.int64)).offsets.tolist() == [0, 300]
    scores_QK[0, 150] = scores_QK[0, 149]
    assert ordered_hits(scores_QK, np.zeros((1, 300), np.int64)) is None
    assert ordered_hits(scores_QK, np.arange(300)[None]).scores[149:151].tolist() == [151, 151]
    for queries, k in ((0, 3), (1, 0), (2, 0)):
        hits = ordered_hits(np.zeros((queries, k), np.float32), np.zeros((queries, k), np.int64))
        assert hits.offsets.tolist() == [0] * (queries + 1) and hits.scores.size == 0
