"""Invariants: the shortlist is ordered by the sum of both scores, the others follow in their order with scores that
do not rise; nothing appears or vanishes; a score that is not finite is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmc.api import RerankQueries
from xmc.errors import NonFiniteError
from xmc.retrieve.label_prior import LabelPrior
from xmc.retrieve.reranking import Reranking
from xmc.values import Hits


class Table:
    """A reranker whose score of (text, label row) is given."""

    def __init__(self, scores):
        self.table = scores

    def scores(self, queries, hits):
        rows = np.repeat(np.arange(len(hits)), np.diff(hits.offsets))
        pairs = zip(rows, hits.label_rows, strict=True)
        return np.array([self.table[int(queries.texts[row])][label] for row, label in pairs], np.float32)


def to_hits(lists):
    flat = [pair for pairs in lists for pair in pairs]
    offsets = np.concatenate(([0], np.cumsum([len(pairs) for pairs in lists]))).astype(np.int64)
    rows = np.array([row for row, _ in flat], np.int64)
    return Hits(offsets, rows, np.array([score for _, score in flat], np.float32))


scores = st.integers(-8, 8).map(float)
ranked = st.lists(st.tuples(st.integers(0, 9), scores), unique_by=lambda pair: pair[0], max_size=7).map(
    lambda pairs: sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
)


@given(st.lists(ranked, max_size=4), st.lists(scores, min_size=40, max_size=40), st.integers(1, 5), st.integers(1, 8))
def test_is_the_loop(lists, second, depth, k):
    table = np.array(second).reshape(4, 10)
    queries = RerankQueries([str(row) for row in range(len(lists))], None)
    got = Reranking(Table(table), depth, 0.5).rerank(queries, to_hits(lists), k)
    for query, (pairs, (label_rows, got_scores)) in enumerate(zip(lists, got, strict=True)):
        shortlist = [(score + 0.5 * table[query][label], label) for label, score in pairs[:depth]]
        shift = min((score for score, _ in shortlist), default=0.0) - (pairs[:depth][-1][1] if pairs else 0.0)
        wanted = shortlist + [(score + shift, label) for label, score in pairs[depth:]]
        wanted = sorted(wanted, key=lambda pair: (-pair[0], pair[1]))[:k]
        assert [label for _, label in wanted] == label_rows.tolist()
        assert [score for score, _ in wanted] == got_scores.tolist()
    reranking = Reranking(Table(table), depth, 0.5)
    tails = [
        (min(score + 0.5 * table[query][label] for label, score in pairs[:depth]) - pairs[:depth][-1][1])
        if pairs
        else 0
        for query, pairs in enumerate(lists)
    ]
    assert reranking.shifts(queries, to_hits(lists)).tolist() == tails


def test_a_score_that_is_not_finite_is_named():
    table = np.zeros((2, 10))
    table[1][3] = np.nan
    with pytest.raises(NonFiniteError, match="query 1"):
        hits = to_hits([[(1, 1.0)], [(2, 2.0), (3, 1.0)]])
        Reranking(Table(table), 5, 1.0).rerank(RerankQueries(["0", "1"], None), hits, 3)


@pytest.mark.parametrize(("weight", "strength"), [(3e38, 0.0), (1.0, 3e38)])
def test_a_weight_or_prior_beyond_all_scores_is_told(weight, strength):
    prior = LabelPrior(np.full(10, 99), strength)
    with pytest.raises(NonFiniteError, match=r"smaller --set fusion\.weight or fusion\.prior"):
        asked = RerankQueries(["0"], None), to_hits([[(1, 1.0)]]), 1
        Reranking(Table(np.full((1, 10), 9.0)), 5, weight, prior=prior).rerank(*asked)
