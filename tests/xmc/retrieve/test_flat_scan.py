"""Invariants: a flat scan answers as a sort of all true scores does, ties and all; to the bit the same whatever else is
asked with a query and however the work is cut."""

import numpy as np
import pytest
import torch
from living_cases import build

from xmc.errors import ConfigError, DataError, NonFiniteError
from xmc.retrieve import flat_scan
from xmc.retrieve.flat_scan import FlatScan


def vectors_of(seed, count, width=24):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def same(hits, others):
    return all(
        np.array_equal(getattr(hits, name), getattr(others, name)) for name in ("offsets", "label_rows", "scores")
    )


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_it_answers_as_the_exact_index_does_to_the_bit(similarity, monkeypatch):
    labels_NE = vectors_of(0, 70).repeat(2, 1)  # each of them twice
    labels_NE[5], labels_NE[6] = 0.0, labels_NE[7] * 1e-20
    queries_QE = torch.cat([vectors_of(1, 40), torch.zeros(1, 24), labels_NE[:9], vectors_of(2, 2) * 1e-20])
    scan = FlatScan.of(labels_NE, similarity=similarity)
    exact = build("exact", labels_NE, similarity)
    rows = np.arange(0, 140, 3)
    for k in (1, 7, 500):
        found = scan.search(queries_QE, k)
        assert same(found, exact.search(queries_QE, k))
        assert same(scan.search_among(queries_QE, k, rows), exact.search_among(queries_QE, k, rows))
        with monkeypatch.context() as patch:
            patch.setattr(flat_scan, "SCORES_AT_ONCE", 300)
            patch.setattr(flat_scan, "NUMBERS_AT_ONCE", 100)
            assert same(scan.search(queries_QE, k), found)


@pytest.mark.parametrize("spread", [0.0, 1e-7], ids=["equal", "nearly equal"])
def test_labels_of_a_collapsed_encoder_are_not_scored_pair_by_pair(spread, monkeypatch):
    labels_NE = vectors_of(7, 1) + spread * vectors_of(8, 600)
    queries_QE, rows, pairs, dots = vectors_of(9, 80), np.arange(0, 600, 2), [], flat_scan.dot_pairs
    scan, exact = FlatScan.of(labels_NE, similarity="dot"), build("exact", labels_NE, "dot")
    monkeypatch.setattr(flat_scan, "dot_pairs", lambda *pair: pairs.append(len(pair[0])) or dots(*pair))
    assert same(scan.search(queries_QE, 5), exact.search(queries_QE, 5))
    assert same(scan.search_among(queries_QE, 5, rows), exact.search_among(queries_QE, 5, rows))
    assert sum(pairs) < 80 * 600 / 10


def test_a_query_gets_the_same_bits_alone_and_among_others():
    labels_NE, queries_QE = vectors_of(3, 60, 32), vectors_of(4, 60, 32)
    scan = FlatScan.of(labels_NE, similarity="dot")
    together = scan.search(queries_QE, 6)
    for row in range(len(queries_QE)):
        assert same(scan.search(queries_QE[row : row + 1], 6), together.take(np.array([row])))


def test_no_queries_and_no_labels_find_nothing():
    scan = FlatScan.of(vectors_of(5, 4), similarity="dot")
    assert len(scan.search(torch.zeros(0, 24), 3)) == 0
    assert scan.search_among(vectors_of(6, 2), 3, np.zeros(0, np.int64)).offsets.tolist() == [0, 0, 0]


def test_wrong_queries_are_refused():
    scan, queries_QE = FlatScan.of(vectors_of(5, 4), similarity="cosine"), vectors_of(6, 2)
    queries_QE[1, 3] = torch.nan
    for queries, k, error, said in (
        (queries_QE, 3, NonFiniteError, "query vectors hold NaN.* row 1"),
        (queries_QE[:1, :5], 3, DataError, "dimension 5, expected 24"),
        (queries_QE[:1], 0, ConfigError, "at least 1, got 0"),
    ):
        with pytest.raises(error, match=said):
            scan.search(queries, k)
