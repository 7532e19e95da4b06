"""Invariants: a filter never costs an answer: min(k, allowed) of them, allowed ones only; recall at keep rates from a
half to a thousandth, whether the allowed labels are scanned or faiss is told the filter."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from clustered import brute_force, clustered, recall, rows_of

from xmc.errors import DataError
from xmc_index_faiss.factory import Factory
from xmc_index_faiss.flat import Flat
from xmc_index_faiss.hnsw import Hnsw
from xmc_index_faiss.ivf import Ivf

BACKENDS = {
    "flat": Flat(),
    "ivf": Ivf(),
    "ivf sq8": Ivf(storage="sq8"),
    "ivf exact": Ivf(exact=True),
    "hnsw": Hnsw(M=16),
    "factory ivf": Factory("IVF64,Flat", search={"nprobe": 16}),
    "factory hnsw": Factory("HNSW16", search={"efSearch": 64}),
}
KEEPS = [0.5, 0.1, 0.01, 0.001]
LABELS = 6000


@pytest.fixture(scope="module")
def vectors():
    return clustered(LABELS, 30)


@pytest.fixture(scope="module")
def indexes(vectors):
    return {name: backend.build([vectors[0]], similarity="dot", device="cpu") for name, backend in BACKENDS.items()}


def allowed_rows(keep):
    return np.sort(np.random.default_rng(1).choice(LABELS, int(LABELS * keep), replace=False))


def told(index, queries_QD, k, rows):
    """The other route: faiss is told the filter, however few it lets through."""
    return index._found_hits(queries_QD.numpy(), min(k, len(rows)), rows)


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("route", ["chosen", "told"])
def test_recall_among_the_allowed(indexes, vectors, name, keep, route):
    if name == "ivf exact" and route == "told":
        return
    labels_LD, queries_QD = vectors
    rows = allowed_rows(keep)
    find = told if route == "told" else lambda index, *rest: index.search_among(*rest)
    hits = find(indexes[name], queries_QD, 10, rows)
    assert np.diff(hits.offsets).tolist() == [min(10, len(rows))] * len(queries_QD)
    assert set(hits.label_rows.tolist()) <= set(rows.tolist())
    found = recall(hits, brute_force(labels_LD, queries_QD, 10, rows))
    assert found >= (1.0 if name in ("flat", "ivf exact") or (keep < 0.02 and route == "chosen") else 0.9)


def test_faiss_alone_loses_them(indexes, vectors):
    """What the routing is for: the filter handed to HNSW as it is."""
    import faiss

    labels_LD, queries_QD = vectors
    rows, index = allowed_rows(0.001), indexes["hnsw"]
    bitmap = np.packbits(np.isin(np.arange(LABELS), rows), bitorder="little")
    parameters = faiss.SearchParametersHNSW(efSearch=64, sel=faiss.IDSelectorBitmap(bitmap))
    _, found_QK = index.faiss_index.search(queries_QD.numpy(), len(rows), params=parameters)
    assert (found_QK < 0).mean() > 0.2
    assert recall(index.search_among(queries_QD, 6, rows), brute_force(labels_LD, queries_QD, 6, rows)) == 1


@pytest.mark.parametrize("name", BACKENDS)
def test_no_row_one_row_and_all_rows(indexes, vectors, name):
    index, queries_QD = indexes[name], vectors[1][:3]
    assert index.search_among(queries_QD, 5, np.zeros(0, np.int64)).offsets.tolist() == [0, 0, 0, 0]
    assert rows_of(index.search_among(queries_QD, 5, np.array([77]))) == [[77]] * 3
    assert len(index.search_among(queries_QD[:0], 5, np.array([77]))) == 0
    everything = rows_of(index.search_among(queries_QD, 5, np.arange(LABELS)))
    assert (
        sum(len(set(a) & set(b)) for a, b in zip(everything, rows_of(index.search(queries_QD, 5)), strict=True)) >= 14
    )
    with pytest.raises(DataError, match="ascending"):
        index.search_among(queries_QD, 5, np.array([3, 2]))


def test_ties_among_the_scanned_go_to_the_lower_row():
    index = Hnsw(M=4).build([torch.ones(300, 4)], similarity="cosine", device="cpu")
    rows = np.arange(1, 300, 3)
    assert rows_of(index.search_among(torch.ones(2, 4), 4, rows)) == [[1, 4, 7, 10]] * 2


def test_more_labels_are_scanned_for_a_batch_than_for_one_query(indexes):
    for name in ("ivf", "hnsw"):
        index = indexes[name]
        assert index._most_scanned(1, 10) < index._most_scanned(64, 10) <= LABELS
    assert (indexes["flat"]._most_scanned(1, 10), indexes["flat"]._most_scanned(8, 10)) == (0, LABELS)
    wide = replace(indexes["hnsw"], options=Hnsw(M=16, ef=512))
    assert wide._most_scanned(1, 10) > indexes["hnsw"]._most_scanned(1, 10)
