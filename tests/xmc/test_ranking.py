import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.ranking import first_hits, rank_hits
from xmc.values import Hits

candidates = st.dictionaries(
    st.tuples(st.integers(0, 3), st.integers(0, 12)), st.sampled_from([-2.0, -0.0, 0.0, 0.5, 7.0]), max_size=40
)


@given(candidates, st.integers(1, 6))
def test_ranking_is_the_sorted_list_of_each_query(scores, k):
    pairs = list(scores)
    rows = np.array([query for query, _ in pairs], dtype=np.int64)
    labels = np.array([label for _, label in pairs], dtype=np.int64)
    hits = rank_hits(rows, labels, np.array(list(scores.values()), dtype=np.float64), queries=4, k=k)
    assert len(hits) == 4
    assert hits.scores.dtype == np.float32
    for query, (label_rows, values) in enumerate(hits):
        own = [(-score, label) for (row, label), score in scores.items() if row == query]
        expected = sorted(own)[:k]
        assert label_rows.tolist() == [label for _, label in expected]
        assert values.tolist() == [-negative for negative, _ in expected]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    queries=st.sampled_from([1, 3, 60, 300]),
    count=st.integers(401, 3000),
    k=st.sampled_from([1, 7, 5000]),
    grouped=st.booleans(),
    odd=st.sampled_from(["", "infinite", "nan", "large rows", "tiny", "one long list"]),
)
def test_many_candidates_are_in_the_same_order(seed, queries, count, k, grouped, odd):
    """Against the sort by three keys, whichever way is taken."""
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, queries, count) if odd != "one long list" else np.zeros(count, np.int64)
    labels = rng.permutation(count) + (2**32 - count if odd == "large rows" else 0) + (odd == "large rows") * seed % 2
    scores = rng.choice(np.array([-3e38, -2.5, -1e-45, -0.0, 0.0, 1e-45, 0.5, 0.75, 3e38]), count)
    scores[rng.random(count) < 0.5] = rng.normal()
    if odd == "infinite":
        scores[:3] = np.inf, -np.inf, np.inf
    if odd == "nan":
        scores[:2] = np.nan, -np.nan
    if odd == "tiny":
        scores *= 1e-44
    if grouped:
        rows = np.sort(rows)
    hits = rank_hits(rows, labels, scores, queries=queries, k=k)
    values = scores.astype(np.float32) + np.float32(0)
    order = np.lexsort((labels, -values, rows))
    kept = [row for query in range(queries) for row in order[rows[order] == query][:k]]
    assert hits.label_rows.dtype == np.int64
    assert hits.label_rows.tolist() == labels[kept].tolist()
    assert hits.scores.tobytes() == values[kept].tobytes()
    assert np.diff(hits.offsets).tolist() == np.minimum(np.bincount(rows, minlength=queries), k).tolist()


def test_scores_that_differ_only_beyond_float32_tie():
    hits = rank_hits(np.zeros(2, int), np.array([5, 3]), np.array([1.0 + 1e-12, 1.0]), queries=1, k=1)
    assert hits.label_rows.tolist() == [3]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.integers(1, 6))
def test_the_first_hits_are_the_first_of_each_list(counts, k):
    offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
    label_rows = np.arange(offsets[-1])[::-1].copy()
    hits = Hits(offsets, label_rows, label_rows.astype(np.float32))
    cut = [(rows.tolist(), scores.tolist()) for rows, scores in first_hits(hits, k)]
    assert cut == [(rows.tolist()[:k], scores.tolist()[:k]) for rows, scores in hits]
