"""Invariants: base and edits answer as a fresh index over the resulting labels does, ties and all, filtered or not,
for every installed index; labels that are gone never shorten an answer."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from living_cases import (
    APPROXIMATE,
    EXACT,
    INDEXES,
    Labels,
    build,
    built_by,
    named,
    queries_of,
    random_labels,
    rows_of,
)

from xmc.errors import PluginError, XmcError
from xmc.retrieve.flat_scan import FlatScan
from xmc.retrieve.kept_search import search_among, search_kept
from xmc.testing.check_index import check_index


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@given(seed=st.integers(0, 10**6), labels=st.integers(1, 30), k=st.integers(1, 40))
def test_base_and_edits_answer_as_a_fresh_exact_index(name, similarity, seed, labels, k):
    generator = np.random.default_rng(seed)
    some = random_labels(generator, labels=labels)
    queries_QD = queries_of(generator)
    living, living_ids = some.living_index(name, similarity)
    fresh, fresh_ids = some.fresh_index(name, similarity)
    assert living_ids == fresh_ids
    assert living.report.labels == len(fresh_ids)
    assert named(living.search(queries_QD, k), living_ids) == named(fresh.search(queries_QD, k), fresh_ids)
    allowed = set(generator.choice(fresh_ids, size=generator.integers(0, len(fresh_ids) + 1), replace=False).tolist())
    rows = rows_of(fresh_ids, allowed)
    wanted = [
        [pair for pair in pairs if pair[0] in allowed][:k]
        for pairs in named(fresh.search(queries_QD, len(fresh_ids)), fresh_ids)
    ]
    assert named(search_among(living, queries_QD, k, rows), fresh_ids) == wanted
    assert named(search_among(fresh, queries_QD, k, rows), fresh_ids) == wanted


@pytest.mark.parametrize("options", [{"nlist": 30}, {"storage": "pq", "pq_bits": 4, "pq_m": 3}])
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_so_few_added_labels_that_an_exact_backend_takes_none_of_them_tie_to_the_bit(options, similarity):
    generator = np.random.default_rng(3)
    some = Labels({f"L{number:03d}": tuple(generator.normal(size=3).tolist()) for number in range(40)})
    for number in range(5):
        some.put(f"L{number:03d}x", some.now[f"L{7 * number:03d}"])
    some.put("L001y", (1e-30, 0.0, 2e-30))
    some.remove("L011")
    backend = INDEXES["faiss.ivf"].load()(exact=True, **options)
    with pytest.raises(XmcError):
        built_by(backend, torch.eye(3))
    living, ids = some.living_index("faiss.ivf", similarity, backend=backend)
    fresh, fresh_ids = some.fresh_index("exact", similarity)
    queries_QD = torch.tensor(generator.normal(size=(6, 3)), dtype=torch.float32)
    queries_QD[0] = 0
    assert ids == fresh_ids and living.report.exact
    assert living.report.memory_bytes == living.base.report.memory_bytes + living.delta.report.memory_bytes
    for k in (1, 4, 99):
        assert named(living.search(queries_QD, k), ids) == named(fresh.search(queries_QD, k), ids)
    rows = np.arange(0, len(ids), 2)
    assert named(search_among(living, queries_QD, 5, rows), ids) == named(fresh.search_among(queries_QD, 5, rows), ids)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_added_labels_beside_an_approximate_index_are_scored_as_its_own(similarity):
    """Cosine also of vectors whose squares vanish in float32."""
    vectors_LD = torch.tensor([[3e-30, 4e-30], [0.6, 0.8], [0.0, 0.0], [-2.0, 1.0]])
    scan = FlatScan.of(vectors_LD, similarity=similarity)
    index = build("faiss.flat", vectors_LD, similarity)
    found, wanted = (one.search(vectors_LD[:2], 4) for one in (scan, index))
    assert found.label_rows.tolist() == wanted.label_rows.tolist()
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-6)


@pytest.mark.parametrize("name", APPROXIMATE)
@pytest.mark.parametrize("seed", range(4))
def test_base_and_edits_find_what_a_fresh_approximate_index_finds(name, seed):
    generator = np.random.default_rng(seed)
    some = Labels({f"L{number:04d}": tuple(generator.normal(size=8).tolist()) for number in range(300)})
    for number in generator.permutation(300)[:60]:
        some.remove(f"L{number:04d}")
    for number in range(40):
        some.put(f"L{2 * number:04d}", tuple(generator.normal(size=8).tolist()))
    queries_QD = torch.tensor(generator.normal(size=(6, 8)), dtype=torch.float32)
    living, ids = some.living_index(name)
    exact, exact_ids = some.fresh_index("exact")
    assert ids == exact_ids
    hits = named(living.search(queries_QD, 10), ids)
    wanted = named(exact.search(queries_QD, 10), ids)
    assert all(len(pairs) == len({label_id for label_id, _ in pairs}) == 10 for pairs in hits)
    found = [len({i for i, _ in pairs} & {i for i, _ in best}) for pairs, best in zip(hits, wanted, strict=True)]
    assert np.mean(found) > 7
    allowed = set(generator.choice(ids, size=30, replace=False).tolist())
    hits = named(search_among(living, queries_QD, 10, rows_of(ids, allowed)), ids)
    assert all(len(pairs) == 10 and {label_id for label_id, _ in pairs} <= allowed for pairs in hits)


class Unfilterable:
    """An index of a stranger: search and nothing else, or with a list that ends early."""

    def __init__(self, index, most=10**9):
        self._index, self._most, self.report = index, most, index.report

    def search(self, queries_QD, k):
        return self._index.search(queries_QD, min(k, self._most))

    def save(self, folder):
        raise NotImplementedError


@given(seed=st.integers(0, 10**6), labels=st.integers(1, 200), share=st.floats(0, 1), k=st.integers(1, 30))
def test_an_index_without_a_filter_is_asked_until_every_list_is_filled(seed, labels, share, k):
    generator = np.random.default_rng(seed)
    index = build("exact", torch.tensor(generator.integers(-1, 2, (labels, 3)), dtype=torch.float32))
    kept_L = generator.random(labels) < share
    queries_QD = queries_of(generator)
    everything = index.search(queries_QD, labels)
    wanted = [
        [(row, score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True) if kept_L[row]][:k]
        for rows, scores in everything
    ]
    ids = range(labels)
    assert named(search_kept(index, queries_QD, k, kept_L), ids) == wanted
    assert named(search_kept(Unfilterable(index), queries_QD, k, kept_L), ids) == wanted
    assert named(search_among(Unfilterable(index), queries_QD, k, np.flatnonzero(kept_L)), ids) == wanted


@pytest.mark.parametrize("name", ["exact", "faiss.hnsw"])
def test_wrong_queries_are_refused_in_the_words_of_the_base_and_with_rows_of_the_caller(name, monkeypatch):
    monkeypatch.setattr("xmc.retrieve.kept_search.HITS_AT_ONCE", 9)  # parts of few queries
    generator = np.random.default_rng(1)
    some = random_labels(generator, labels=20, edits=0)
    some.remove("L003")
    some.put("new", (1, 0, 1))
    living, ids = some.living_index(name)
    fresh, _ = some.fresh_index(name)
    queries_QD = torch.ones(9, 3)
    spoiled_QD = queries_QD.clone()
    spoiled_QD[7, 1] = torch.nan
    rows = np.arange(len(ids) - 1)
    searches = (
        lambda index: index.search,
        lambda index: lambda *given: index.search_among(*given, rows),
        lambda index: lambda *given: index.search_among(*given, rows[:0]),
    )
    for queries, k in ((queries_QD.numpy(), 2), (spoiled_QD, 2), (queries_QD[:, :2], 2), (queries_QD, 2.0)):
        for asked in searches:
            said = []
            for index in (fresh, living):
                with pytest.raises(XmcError) as caught:
                    asked(index)(queries, k)
                said.append((type(caught.value), str(caught.value)))
            assert said[0] == said[1]


@pytest.mark.parametrize("name", EXACT)
def test_where_most_labels_are_gone_the_others_alone_are_searched(name, monkeypatch):
    """Asked for all that the base has until k are left, each query would get a list of nearly all labels."""
    generator = np.random.default_rng(2)
    index = build(name, torch.tensor(generator.integers(-1, 2, (300, 3)), dtype=torch.float32))
    kept_L = generator.random(300) < 0.05
    queries_QD = queries_of(generator)
    wanted = named(index.search_among(queries_QD, 4, np.flatnonzero(kept_L)), range(300))
    monkeypatch.setattr(type(index), "search", lambda *_: pytest.fail("all labels are searched"))
    assert named(search_kept(index, queries_QD, 4, kept_L), range(300)) == wanted


def test_where_few_labels_are_gone_few_more_are_asked_for():
    """Once for all queries, and again for those alone whose nearest labels are gone."""
    generator = np.random.default_rng(2)
    index = build("exact", torch.tensor(generator.normal(size=(1000, 3)), dtype=torch.float32))
    queries_QD, asked = torch.tensor(generator.normal(size=(20, 3)), dtype=torch.float32), []
    kept_L = generator.random(1000) < 0.98
    kept_L[index.search(queries_QD[:1], 30).label_rows] = False
    spy = Unfilterable(index)
    spy.search = lambda queries_QD, k: asked.append((len(queries_QD), k)) or index.search(queries_QD, k)
    hits = search_kept(spy, queries_QD, 10, kept_L)
    assert named(hits, range(1000)) == named(index.search_among(queries_QD, 10, np.flatnonzero(kept_L)), range(1000))
    assert asked[0][0] == 20 and sum(queries * k for queries, k in asked) < 20 * 40


def test_an_index_that_cannot_fill_a_filtered_list_is_named():
    index = Unfilterable(build("exact", torch.eye(6)), most=3)
    with pytest.raises(PluginError, match=r"'exact' cannot search among some labels .* only 0 of the 2"):
        search_among(index, torch.eye(6)[:1], 5, np.array([4, 5]))


def test_without_tombstones_taken_out_of_the_way_lists_would_be_short():
    """The protection removed: the same search cut to k before labels that are gone are left out."""
    index = build("exact", torch.eye(6) + 1)
    kept_L = np.array([False, False, False, True, True, True])
    hits = index.search(torch.eye(6)[:1] * 5, 3)
    assert int(kept_L[hits.label_rows].sum()) < 3
    assert len(search_kept(index, torch.eye(6)[:1] * 5, 3, kept_L).label_rows) == 3


@pytest.mark.parametrize("keep", [0.5, 0.1, 0.01, 0.001])
@pytest.mark.parametrize("name", sorted(INDEXES))
def test_filtered_search_is_brute_force_at_every_keep_rate(name, keep):
    generator = torch.Generator().manual_seed(3)
    labels_LD = torch.nn.functional.normalize(torch.randn(4000, 8, generator=generator), dim=1)
    queries_QD = torch.nn.functional.normalize(torch.randn(5, 8, generator=generator), dim=1)
    rows = torch.randperm(4000, generator=generator)[: int(4000 * keep)].sort().values
    hits = search_among(build(name, labels_LD), queries_QD, 10, rows.numpy())
    scores_QN = queries_QD @ labels_LD[rows].T
    wanted_QK = rows[scores_QN.topk(min(10, len(rows)), dim=1).indices]
    found = 0
    for (label_rows, _), wanted_K in zip(hits, wanted_QK.tolist(), strict=True):
        assert len(label_rows) == len(wanted_K)
        found += len(set(label_rows.tolist()) & set(wanted_K))
    assert found / wanted_QK.numel() >= (1.0 if INDEXES[name].exact or len(rows) <= 40 else 0.7)


@pytest.mark.parametrize("name", sorted(INDEXES))
def test_every_installed_index_keeps_the_contract(name):
    check_index(INDEXES[name].load()(), exact=INDEXES[name].exact, least_recall=0.5)
