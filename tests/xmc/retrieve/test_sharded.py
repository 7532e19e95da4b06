"""Invariants: an index in parts answers as one index over all labels, ties included, whatever the number of parts; it
follows the contract of an index; a part can be opened alone."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xmc.api import FilteredIndex
from xmc.errors import ArtifactError, ConfigError, DataError
from xmc.plugin_manager import load_plugins
from xmc.retrieve.sharded import Sharded, load_part, merge_parts
from xmc.testing import check_index
from xmc_index_exact.exact import Exact
from xmc_index_sparse.sparse import Sparse


def equal(left, right):
    return all(
        np.array_equal(getattr(left, name), getattr(right, name)) for name in ("offsets", "label_rows", "scores")
    )


def test_it_follows_the_contract():
    check_index(Sharded(shards=3))


@given(
    data=st.data(),
    labels=st.integers(1, 40),
    shards=st.integers(1, 45),
    k=st.integers(1, 50),
    similarity=st.sampled_from(["dot", "cosine"]),
)
def test_merge_of_shards_is_the_search_of_the_whole(data, labels, shards, k, similarity):
    """Small whole numbers make ties everywhere; shards are smaller than k, and k larger than the label set."""
    numbers = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    labels_LD = torch.tensor(data.draw(st.lists(numbers, min_size=labels, max_size=labels))).float()
    queries_QD = torch.tensor(data.draw(st.lists(numbers, min_size=1, max_size=5))).float()
    if similarity == "cosine":
        labels_LD, queries_QD = labels_LD + 0.5, queries_QD + 0.5
    cuts = sorted(data.draw(st.sets(st.integers(1, labels), max_size=5)) | {labels})
    chunks = [labels_LD[start:stop] for start, stop in zip([0, *cuts[:-1]], cuts, strict=True)]
    whole = Exact().build([labels_LD], similarity=similarity, device="cpu").search(queries_QD, k)
    index = Sharded(shards=shards).build(chunks, similarity=similarity, device="cpu")
    assert equal(index.search(queries_QD, k), whole)
    assert index.report.labels == labels and len(index.parts) <= min(shards, labels) and index.report.exact


@given(data=st.data(), labels=st.integers(1, 40), shards=st.integers(1, 45), k=st.integers(1, 50))
@pytest.mark.parametrize("backend", ["exact", "faiss.ivf"])
def test_search_among_some_labels_is_that_of_the_whole(backend, data, labels, shards, k):
    numbers = st.lists(st.integers(-1, 1), min_size=2, max_size=2)
    labels_LD = torch.tensor(data.draw(st.lists(numbers, min_size=labels, max_size=labels))).float()
    queries_QD = torch.tensor(data.draw(st.lists(numbers, min_size=1, max_size=5))).float()
    allowed = np.array(sorted(data.draw(st.sets(st.integers(0, labels - 1)))), dtype=np.int64)
    whole = Exact().build([labels_LD], similarity="dot", device="cpu").search_among(queries_QD, k, allowed)
    index = Sharded(backend=backend, shards=shards).build([labels_LD], similarity="dot", device="cpu")
    assert isinstance(index, FilteredIndex)
    assert equal(index.search_among(queries_QD, k, allowed), whole)


@given(data=st.data(), labels=st.integers(1, 12), shards=st.integers(1, 14), k=st.integers(1, 15))
@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_sparse_vectors_are_cut_as_dense_ones(similarity, data, labels, shards, k):
    numbers = st.lists(st.integers(0, 2), min_size=3, max_size=3)
    labels_LD = torch.tensor(data.draw(st.lists(numbers, min_size=labels, max_size=labels))).float()
    labels_LD[:, 0] += 1
    queries_QD = torch.eye(3)
    cuts = sorted(data.draw(st.sets(st.integers(1, labels), max_size=3)) | {labels})
    chunks = [labels_LD[start:stop].to_sparse_csr() for start, stop in zip([0, *cuts[:-1]], cuts, strict=True)]
    allowed = np.arange(0, labels, 2)
    whole = Sparse().build([labels_LD], similarity=similarity, device="cpu")
    index = Sharded(backend="sparse", shards=shards).build(chunks, similarity=similarity, device="cpu")
    assert equal(index.search(queries_QD.to_sparse_csr(), k), whole.search(queries_QD, k))
    among = index.search_among(queries_QD.to_sparse_csr(), k, allowed)
    assert equal(among, whole.search_among(queries_QD, k, allowed))
    assert index.report.labels == labels and index.report.exact


def test_a_part_that_cannot_filter_is_asked_for_more(monkeypatch):
    index = Sharded(shards=2).build([torch.eye(6)], similarity="dot", device="cpu")
    whole = index.search_among(torch.eye(6), 2, np.array([1, 4, 5]))
    monkeypatch.delattr(type(index.parts[0]), "search_among")
    assert equal(index.search_among(torch.eye(6), 2, np.array([1, 4, 5])), whole)


def test_parts_answer_in_rows_of_their_own():
    """Without the shift the merge would be wrong: the test that can fail."""
    vectors = torch.eye(4)
    index = Sharded(shards=2).build([vectors], similarity="dot", device="cpu")
    parts = [part.search(vectors[3:], 1) for part in index.parts]
    assert [part.label_rows.tolist() for part in parts] == [[0], [1]]
    assert merge_parts(parts, index.starts, 1).label_rows.tolist() == [3]
    assert merge_parts(parts, (0, 0), 1).label_rows.tolist() == [1]


@pytest.mark.parametrize("backend", ["exact", "faiss.flat"])
def test_a_part_is_opened_alone(tmp_path, backend):
    vectors = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    options = {"score_memory_mb": 2} if backend == "exact" else {}
    index = Sharded(backend=backend, shards=3, options=options).build([vectors], similarity="dot", device="cpu")
    index.save(tmp_path)
    assert index.starts == (0, 4, 8)
    assert index.report.memory_bytes == sum(part.report.memory_bytes for part in index.parts) >= 10 * 4 * 4
    part = load_part(tmp_path, 2, device="cpu", plugins=load_plugins())
    assert part.report.labels == 2 and part.report.backend == backend
    assert equal(part.search(vectors[8:], 2), index.parts[2].search(vectors[8:], 2))
    loaded = Sharded(backend=backend, shards=3).load(tmp_path, device="cpu")
    assert equal(loaded.search(vectors, 7), index.search(vectors, 7))
    assert loaded.report.options == {"backend": backend, "shards": 3, "options": options}


def test_the_smallest_part_has_to_be_large_enough():
    sharded = Sharded(backend="faiss.ivf", shards=2, options={"storage": "pq", "pq_bits": 4, "pq_m": 2})
    sharded.require_labels(32)
    with pytest.raises(DataError, match="15"):
        sharded.require_labels(31)


def test_parts_of_a_backend_that_refuses_neither_devices_nor_numbers(monkeypatch):
    monkeypatch.setattr(Sharded, "inner", lambda sharded: object())
    Sharded().require_device("cuda:99")
    Sharded().require_labels(1)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="shards must be at least 1"):
        Sharded(shards=0)
    with pytest.raises(ValueError, match="cannot be sharded themselves"):
        Sharded(backend="sharded")
    with pytest.raises(ConfigError, match=r"\[index.options\] has no key 'nlost'"):
        Sharded(options={"nlost": 3}).build([torch.eye(2)], similarity="dot", device="cpu")
    with pytest.raises(DataError, match="no label vectors"):
        Sharded().build([], similarity="dot", device="cpu")


@pytest.mark.parametrize("spoilt", [None, "starts", "options", "report"])
def test_a_folder_without_parts_or_their_backend(spoilt, tmp_path):
    if spoilt:
        Sharded().build([torch.eye(3)], similarity="dot", device="cpu").save(tmp_path)
        facts = json.loads((tmp_path / "sharded.json").read_text())
        changes = {"starts": {"starts": []}, "options": {"report": {**facts["report"], "options": {"shards": 2}}}}
        changes["report"] = {"report": {**facts["report"], "options": 3}}
        (tmp_path / "sharded.json").write_text(json.dumps({**facts, **changes[spoilt]}))
    with pytest.raises(ArtifactError, match="holds no sharded index"):
        Sharded().load(tmp_path, device="cpu")
