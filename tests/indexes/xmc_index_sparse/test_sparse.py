"""Invariants: equal to a loop over dictionaries in float64; dense or CSR, the same; the same bits in any batch."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from xmc.errors import ArtifactError, ConfigError, DataError, DeviceError, NonFiniteError
from xmc.testing import check_index
from xmc_index_sparse import index as sparse_index
from xmc_index_sparse.sparse import Sparse

pytestmark = pytest.mark.filterwarnings("ignore:Sparse:UserWarning")


def random_sparse(rows, columns, generator, *, share=0.2, whole=False):
    values = torch.randint(-2, 3, (rows, columns), generator=generator).float()
    if not whole:
        values = values * torch.rand(rows, columns, generator=generator)
    return values * (torch.rand(rows, columns, generator=generator) < share)


def brute_force(labels_LD, queries_QD, k):
    """Loops over dictionaries: a label that shares no feature with the query scores 0 and counts."""
    labels = [{i: v for i, v in enumerate(row) if v} for row in labels_LD.double().tolist()]
    answers = []
    for query in queries_QD.double().tolist():
        scores = [np.float32(sum(v * query[i] for i, v in label.items())) for label in labels]
        answers.append(sorted(range(len(labels)), key=lambda row: (-scores[row], row))[:k])
    return answers


def rows_of(hits):
    return [label_rows.tolist() for label_rows, _ in hits]


def test_contract():
    check_index(Sparse(), exact=True)


@given(
    seed=st.integers(0, 10**6),
    labels=st.integers(1, 90),
    dimension=st.integers(1, 30),
    queries=st.integers(1, 9),
    k=st.integers(1, 50),
    whole=st.booleans(),
)
def test_equal_to_brute_force(seed, labels, dimension, queries, k, whole):
    generator = torch.Generator().manual_seed(seed)
    labels_LD = random_sparse(labels, dimension, generator, whole=whole)
    queries_QD = random_sparse(queries, dimension, generator, share=0.5, whole=whole)
    index = Sparse().build(labels_LD.split(17), similarity="dot", device="cpu")
    assert rows_of(index.search(queries_QD, k)) == brute_force(labels_LD, queries_QD, k)


def test_of_labels_that_tie_no_more_are_kept_than_are_wanted(monkeypatch):
    """A query of few words ties with all labels that have none of them: kept, they would be as many as all scores."""
    generator = torch.Generator().manual_seed(2)
    labels_LD = random_sparse(300, 60, generator, whole=True)
    queries_QD = torch.cat([torch.eye(60)[:9], -torch.eye(60)[:9], torch.zeros(2, 60), torch.ones(1, 60)])
    kept = []
    rank = sparse_index.rank_hits
    monkeypatch.setattr(
        sparse_index, "rank_hits", lambda *given, **more: kept.append(len(given[0])) or rank(*given, **more)
    )
    index = Sparse().build([labels_LD], similarity="dot", device="cpu")
    assert rows_of(index.search(queries_QD, 40)) == brute_force(labels_LD, queries_QD, 40)
    allowed = np.arange(1, 300, 2)
    among = [allowed[rows].tolist() for rows in brute_force(labels_LD[1::2], queries_QD, 40)]
    assert rows_of(index.search_among(queries_QD, 40, allowed)) == among
    assert kept == [40 * len(queries_QD)] * 2


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_dense_and_csr_tensors_give_the_same_bits_in_any_batch(similarity):
    generator = torch.Generator().manual_seed(1)
    labels_LD = random_sparse(2000, 300, generator)
    queries_QD = random_sparse(50, 300, generator)
    index = Sparse().build([labels_LD.to_sparse_csr()], similarity=similarity, device="cpu")
    other = Sparse(score_memory_mb=1).build(labels_LD.split(999), similarity=similarity, device="cpu")
    expected = index.search(queries_QD.to_sparse_csr(), 20)
    for found in (index.search(queries_QD, 20), other.search(queries_QD, 20)):
        assert found.label_rows.tolist() == expected.label_rows.tolist()
        assert found.scores.tobytes() == expected.scores.tobytes()
    for row, (label_rows, scores) in enumerate(expected):
        alone = index.search(queries_QD[row : row + 1].to_sparse_csr(), 20)
        assert alone.label_rows.tolist() == label_rows.tolist()
        assert alone.scores.tobytes() == scores.tobytes()


def test_values_in_any_order_and_given_twice_count_as_their_sum():
    labels_LD = torch.sparse_csr_tensor([0, 3, 4], [2, 0, 2, 1], [1.0, 5.0, 2.0, 1.0], (2, 3))
    index = Sparse().build([labels_LD], similarity="dot", device="cpu")
    hits = index.search(torch.tensor([[1.0, 10.0, 1.0]]), 2)
    assert hits.label_rows.tolist() == [1, 0]
    assert hits.scores.tolist() == [10.0, 8.0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e19])
def test_what_is_not_finite_is_refused_in_sparse_vectors_too(bad):
    broken = torch.eye(4)
    broken[2, 2] = bad
    index = Sparse().build([torch.eye(4)], similarity="dot", device="cpu")
    with pytest.raises(NonFiniteError, match="row 2"):
        index.search(broken.to_sparse_csr(), 1)
    with pytest.raises(NonFiniteError, match="row 6"):
        Sparse().build([torch.eye(4), broken.to_sparse_csr()], similarity="dot", device="cpu")
    with pytest.raises(DataError, match="dimension 3, expected 4"):
        index.search(torch.eye(3).to_sparse_csr(), 1)
    with pytest.raises(DataError, match="CSR"):
        index.search(torch.eye(4).to_sparse(), 1)


def test_a_gpu_is_refused_and_options_are_checked():
    with pytest.raises(DeviceError, match="CPU"):
        Sparse().build([torch.eye(2)], similarity="dot", device="cuda")
    with pytest.raises(ConfigError, match="'auto' or 'cpu'"):
        Sparse().build([torch.eye(2)], similarity="dot", device="tpu")
    with pytest.raises(ValueError, match="score_memory_mb"):
        Sparse(score_memory_mb=0)
    assert Sparse().build([torch.eye(2)], similarity="dot", device="auto").report.device_used == "cpu"


@pytest.mark.parametrize("damage", ["text", "facts", "size", "row", "missing"])
def test_a_folder_that_cannot_be_read_is_an_artifact_error(tmp_path, damage):
    Sparse().build([torch.eye(4)], similarity="dot", device="cpu").save(tmp_path)
    table, facts = tmp_path / "table.safetensors", tmp_path / "index.json"
    if damage == "text":
        table.write_text("not a table")
    elif damage == "missing":
        table.unlink()
    elif damage == "facts":
        facts.write_text("{}")
    elif damage == "size":
        facts.write_text(json.dumps({**json.loads(facts.read_text()), "dimension": 5}))
    else:
        arrays = load_file(table)
        arrays["label_rows"] = np.array([0, 1, 2, 9], np.int32)
        save_file(arrays, table)
    with pytest.raises(ArtifactError, match="no sparse index"):
        Sparse().load(tmp_path, device="cpu")


@given(
    seed=st.integers(0, 10**6),
    labels=st.integers(1, 90),
    keep=st.sampled_from([0.0, 0.1, 1.0]),
    queries=st.integers(0, 5),
    k=st.integers(1, 50),
)
def test_among_some_rows_equal_to_brute_force(seed, labels, keep, queries, k):
    generator = torch.Generator().manual_seed(seed)
    labels_LD = random_sparse(labels, 6, generator, whole=True)
    queries_QD = random_sparse(queries, 6, generator, share=0.5)
    label_rows = (torch.rand(labels, generator=generator) < keep).nonzero().flatten().numpy()
    index = Sparse().build([labels_LD], similarity="dot", device="cpu")
    expected = brute_force(labels_LD[label_rows], queries_QD, k)
    hits = index.search_among(queries_QD, k, label_rows)
    assert rows_of(hits) == [label_rows[found].tolist() for found in expected]
