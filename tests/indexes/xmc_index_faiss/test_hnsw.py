"""Invariants: full lists, also from a graph in pieces; one graph for any cut of the stream and number of threads."""

import numpy as np
import pytest
import torch
from clustered import brute_force, clustered, recall, rows_of

from xmc.config import build_options
from xmc.errors import ArtifactError, ConfigError, DeviceError
from xmc.testing import check_index
from xmc_index_faiss.hnsw import Hnsw


def built(vectors_LD, similarity="dot", **options):
    return Hnsw(**options).build([vectors_LD], similarity=similarity, device="cpu")


def test_contract():
    check_index(Hnsw())


def test_a_wider_view_finds_more():
    labels_LD, queries_QD = clustered(4000, 60)
    expected = brute_force(labels_LD, queries_QD, 10)
    index = built(labels_LD, M=4, ef_construction=10)
    found = [recall(index.with_search_options(step).search(queries_QD, 10), expected) for step in index.search_ladder()]
    assert found[0] < found[-1]
    assert found[-1] > 0.9


@pytest.mark.parametrize("k", [1, 900, 1200, 5000])
def test_lists_are_full_when_the_graph_falls_to_pieces(k):
    """A thousand copies of one label hide the others from a graph of two neighbours."""
    labels_LD, queries_QD = clustered(200, 5)
    labels_LD = torch.cat([labels_LD[:1].repeat(1000, 1), labels_LD])
    hits = built(labels_LD, M=2, ef=1).search(queries_QD, k)
    assert np.diff(hits.offsets).tolist() == [min(k, 1200)] * 5


def test_the_graph_does_not_depend_on_the_cut_of_the_stream_or_the_threads(tmp_path, monkeypatch):
    import faiss

    monkeypatch.setattr("xmc_index_faiss.stream.BLOCK_ROWS", 256)
    labels_LD, _ = clustered(900, 1)
    before, files = faiss.omp_get_max_threads(), []
    try:
        for number, (sizes, threads) in enumerate((([900], 1), ([1, 300, 0, 599], 2), ([100] * 9, 2))):
            faiss.omp_set_num_threads(threads)
            folder = tmp_path / str(number)
            folder.mkdir()
            Hnsw().build(labels_LD.split(sizes), similarity="cosine", device="cpu").save(folder)
            files.append((folder / "index.faiss").read_bytes())
    finally:
        faiss.omp_set_num_threads(before)
    assert files[0] == files[1] == files[2]


def test_another_seed_is_another_graph(tmp_path):
    labels_LD, _ = clustered(1000, 1)
    files = []
    for seed in (1, 1, 2):
        built(labels_LD, seed=seed).save(tmp_path)
        files.append((tmp_path / "index.faiss").read_bytes())
    assert files[0] == files[1] != files[2]


def test_the_options_are_those_of_the_graph():
    index = built(clustered(500, 1)[0], M=7, ef_construction=33)  # faiss frees what nothing holds
    graph = index.faiss_index.hnsw
    assert (graph.nb_neighbors(0), graph.nb_neighbors(1), graph.efConstruction) == (14, 7, 33)


@pytest.mark.parametrize(
    "options", [{"M": 1}, {"M": 513}, {"ef": 0}, {"ef_construction": 0}, {"m": 4}, {"seed": -1}, {"seed": 2**31}]
)
def test_options_are_checked(options):
    with pytest.raises(ConfigError):
        build_options(Hnsw, options, section="index")


def test_search_options_are_checked():
    index = built(clustered(500, 1)[0])
    for options in ({"M": 3}, {"ef": 0}, {"ef": 4.0}):
        with pytest.raises(ConfigError):
            index.with_search_options(options)


def test_a_gpu_is_refused():
    with pytest.raises(DeviceError, match=r"faiss\.hnsw"):
        Hnsw().build([torch.ones(1, 2)], similarity="dot", device="cuda")


def test_saved_and_loaded(tmp_path):
    labels_LD, queries_QD = clustered(800, 9)
    index = built(labels_LD, "cosine")
    index.save(tmp_path)
    loaded = Hnsw(ef=10).load(tmp_path, device="cpu")
    assert (loaded.report.options["ef"], loaded.report.similarity) == (10, "cosine")
    same = loaded.with_search_options({"ef": 64}).search(queries_QD, 9)
    assert rows_of(same) == rows_of(index.search(queries_QD, 9))
    (tmp_path / "index.faiss").write_bytes((tmp_path / "index.faiss").read_bytes()[:-50])
    with pytest.raises(ArtifactError):
        Hnsw().load(tmp_path, device="cpu")


@pytest.mark.parametrize("options", [{}, {"M": 8}])
@pytest.mark.parametrize("labels", [2000, 9000])
def test_the_memory_estimate_is_within_five_percent(options, labels):
    import faiss

    index = built(clustered(labels, 1, 64)[0], ef_construction=10, **options)
    real = len(faiss.serialize_index(index.faiss_index))
    assert Hnsw(**options).estimated_bytes(labels=labels, dimension=64) == pytest.approx(real, rel=0.05)


def test_proposals():
    assert [proposal.M for proposal in Hnsw.proposals(labels=10**6, dimension=384)] == [16, 32]
    assert not Hnsw.proposals(labels=100, dimension=384)
