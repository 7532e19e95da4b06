"""Invariants: the k-th best score is that of a full sort in float64; a label whose score reaches it counts as found."""

import numpy as np
import pytest
import torch

from xmc.errors import ConfigError, DataError
from xmc.tune import label_vectors, reference
from xmc.tune.label_vectors import LabelVectors, keep_vectors
from xmc.tune.reference import exact_reference
from xmc.values import Hits


def made(labels, queries, dimension=6, scale=1.0):
    generator = torch.Generator().manual_seed(1)
    labels_LD = scale * torch.randn(labels, dimension, generator=generator)
    return labels_LD.numpy(), torch.randn(queries, dimension, generator=generator)


def all_scores(matrix_LE, queries_QE, similarity):
    labels, queries = matrix_LE.astype(np.float64), queries_QE.double().numpy()
    if similarity == "cosine":
        labels, queries = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (labels, queries))
    return queries @ labels.T


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize(("labels", "k"), [(500, 10), (500, 1), (12, 10), (4, 10)])
@pytest.mark.parametrize("scale", [1e-25, 1e-6, 30.0])
def test_kth_scores_and_shares_are_those_of_a_full_sort(monkeypatch, similarity, labels, k, scale):
    monkeypatch.setattr(reference, "_QUERIES", 7)
    monkeypatch.setattr(reference, "_PAIR_BYTES", 2000)
    monkeypatch.setattr(label_vectors, "_CHUNK", 64)
    matrix_LE, queries_QE = made(labels, 20, scale=scale)
    found = exact_reference(LabelVectors(matrix_LE, similarity), queries_QE, k)
    scores_QL = all_scores(matrix_LE, queries_QE, similarity)
    wanted = min(k, labels)
    assert found.wanted == wanted
    np.testing.assert_allclose(found.last_Q, np.sort(scores_QL, axis=1)[:, -wanted], rtol=1e-6)
    drawn = [np.random.default_rng(q).permutation(labels)[: max(1, wanted - q % 3)] for q in range(20)]
    offsets = np.concatenate(([0], np.cumsum([len(rows) for rows in drawn])))
    shares = found.shares(Hits(offsets, np.concatenate(drawn), np.zeros(offsets[-1], np.float32)))
    best = [set(np.argsort(-scores)[:wanted].tolist()) for scores in scores_QL]
    assert shares.tolist() == [len(top & set(rows.tolist())) / wanted for top, rows in zip(best, drawn, strict=True)]


def test_equal_labels_count_for_each_other_and_an_empty_answer_finds_nothing():
    matrix_LE = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    found = exact_reference(LabelVectors(matrix_LE, "dot"), torch.eye(2), 2)
    hits = Hits(np.array([0, 2, 2]), np.array([2, 1]), np.ones(2, np.float32))
    assert found.shares(hits).tolist() == [1.0, 0.0]


def test_vectors_are_kept_in_order_in_memory_or_in_a_file(tmp_path, monkeypatch):
    matrix_LE, _ = made(50, 1)
    chunks = [torch.from_numpy(part) for part in np.split(matrix_LE, [20, 45])]
    for limit in (1 << 30, 0):
        monkeypatch.setattr(label_vectors, "IN_MEMORY_BYTES", limit)
        kept = keep_vectors(chunks, labels=50, similarity="dot", folder=tmp_path)
        assert np.array_equal(torch.cat(list(kept.chunks(7))).numpy(), matrix_LE) and kept.dimension == 6
        assert np.array_equal(kept.take(np.array([3, 1])).numpy(), matrix_LE[[3, 1]])
        sample = kept.sample(40, seed=2)
        rows = [matrix_LE.tolist().index(row) for row in sample.matrix_LE.tolist()]
        assert len(rows) == len(sample) == 40 and rows == sorted(set(rows)), "each once, in their order"
    assert list(tmp_path.iterdir()) == [], "the file has no name"


def test_what_cannot_be_kept_is_refused():
    matrix_LE, _ = made(50, 1)
    for labels in (49, 51):
        with pytest.raises(DataError, match=f"50 label vectors for {labels} labels"):
            keep_vectors([torch.from_numpy(matrix_LE)], labels=labels, similarity="dot")
    with pytest.raises(DataError):
        keep_vectors([], labels=0, similarity="dot")
    with pytest.raises(ConfigError, match="sparse"):
        keep_vectors([torch.eye(3).to_sparse_csr()], labels=3, similarity="dot")
