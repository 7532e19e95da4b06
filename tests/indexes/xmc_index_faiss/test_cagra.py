"""Invariants: refused where cuVS is not; what a GPU finds is checked, scored again and filled up; saved as faiss does.

The searches of a GPU are played by faiss's own IndexHNSWCagra on the CPU, but for the tests marked `gpu`.
"""

import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from clustered import brute_force, clustered, recall, require_scored_alike, rows_of

from xmc.config import build_options
from xmc.errors import ArtifactError, ConfigError, DeviceError
from xmc.testing import check_index
from xmc_index_faiss import cagra_index as cagra_index_module
from xmc_index_faiss import device as device_module
from xmc_index_faiss._import import import_faiss
from xmc_index_faiss.cagra import Cagra
from xmc_index_faiss.device import choose_cuvs_gpu
from xmc_index_faiss.gpu import Gpu, OnGpu
from xmc_index_faiss.gpu_vectors import GpuVectors
from xmc_index_faiss.hnsw import Hnsw
from xmc_index_faiss.saved import read_saved

HAS_CUVS = hasattr(import_faiss(), "GpuIndexCagra") and import_faiss().get_num_gpus() > 0
needs_cuvs = pytest.mark.skipif(not HAS_CUVS, reason="needs a GPU and a faiss built with cuVS")


@pytest.mark.skipif(HAS_CUVS, reason="needs a machine without cuVS")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", "auto", "cpu"])
def test_a_machine_without_cuvs_is_refused(device, tmp_path):
    with pytest.raises(DeviceError, match=r"faiss\.hnsw.*pip install faiss-gpu-cuvs"):
        Cagra().build([torch.ones(1, 2)], similarity="dot", device=device)
    with pytest.raises(DeviceError, match=r"'faiss\.cagra'"):
        Cagra().load(tmp_path, device=device)


@pytest.mark.parametrize(
    ("built", "count", "device", "message"),
    [
        ((), 0, "cuda", r"the installed faiss 1\.15\.1 is built without GPUs"),
        (("StandardGpuResources",), 1, "cuda", r"the installed faiss 1\.15\.1 is built without cuVS"),
        (("StandardGpuResources", "GpuIndexCagra"), 0, "auto", "faiss sees 0 GPUs"),
        (("StandardGpuResources", "GpuIndexCagra"), 1, "cuda:1", "faiss sees 1 GPUs"),
        (("StandardGpuResources", "GpuIndexCagra"), 1, "cpu", "runs on a GPU only, got device 'cpu'"),
    ],
)
def test_the_error_says_what_is_missing(monkeypatch, built, count, device, message):
    fake = types.SimpleNamespace(__version__="1.15.1", get_num_gpus=lambda: count, **dict.fromkeys(built, object))
    monkeypatch.setattr(device_module, "import_faiss", lambda: fake)
    with pytest.raises(DeviceError, match=message):
        choose_cuvs_gpu(device, backend="faiss.cagra")
    with pytest.raises(ConfigError, match="device must be"):
        choose_cuvs_gpu("gpu", backend="faiss.cagra")


def test_with_cuvs_the_gpu_is_named(monkeypatch):
    fake = types.SimpleNamespace(StandardGpuResources=object, GpuIndexCagra=object, get_num_gpus=lambda: 2)
    monkeypatch.setattr(device_module, "import_faiss", lambda: fake)
    assert [choose_cuvs_gpu(device, backend="x") for device in ("auto", "cuda", "cuda:1")] == [0, 0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"graph_degree": 7}, "even"),
        ({"graph_degree": 2}, r"4\.\.512"),
        ({"graph_degree": 64, "intermediate_graph_degree": 32}, r"64 \(graph_degree\)\.\.1024"),
        ({"build_by": "hand"}, "'ivf_pq' or 'nn_descent'"),
        ({"itopk": 0}, r"1\.\.1,024"),
        ({"itopk": 1025}, r"1\.\.1,024"),
        ({"search_width": 0}, "search_width"),
        ({"nn_descent_rounds": 0}, "nn_descent_rounds"),
        ({"M": 32}, "M"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ConfigError, match=message):
        build_options(Cagra, options, section="index")


class PlayedGpu:
    """A CPU graph searched in place of the GPU; `answer` may spoil the rows as a version of cuVS might."""

    def __init__(self, index, answer=lambda rows_QK: rows_QK):
        self.index, self.answer, self.asked, self.blocks = index, answer, [], []

    def search(self, queries_QD, k, *, params=None):
        self.asked.append((k, getattr(params, "itopk_size", None), getattr(params, "search_width", None)))
        self.blocks.append(getattr(params, "algo", None))
        scores_QK, rows_QK = self.index.search(queries_QD, k)
        return np.zeros_like(scores_QK), self.answer(rows_QK)


@pytest.fixture
def on_cpu(monkeypatch):
    """A CAGRA index as faiss holds it in the host's memory, with a GPU that is played."""
    monkeypatch.setattr(
        cagra_index_module,
        "import_faiss",
        lambda: types.SimpleNamespace(SearchParametersCagra=types.SimpleNamespace, search_algo_SINGLE_CTA="one block"),
    )
    faiss = import_faiss()

    def made(labels_LD, answer=lambda rows_QK: rows_QK, **options):
        if len(labels_LD) < 256:
            index = faiss.IndexFlatIP(labels_LD.shape[1])
        else:
            index = faiss.IndexHNSWCagra(labels_LD.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
            index.hnsw.efSearch = 200
        index.add(labels_LD.numpy())
        played = PlayedGpu(index, answer)
        monkeypatch.setattr(Gpu, "copy", lambda *_, **__: OnGpu(played, []))
        return Cagra(**options)._index(index, Gpu(0), "dot", build_s=0.5), played

    return made


def test_what_is_found_is_scored_again(on_cpu):
    labels_LD, queries_QD = clustered(2000, 20)
    index, played = on_cpu(labels_LD, itopk=100, search_width=2)
    hits = index.search(queries_QD, 10)
    assert recall(hits, brute_force(labels_LD, queries_QD, 10)) > 0.95
    for query_D, (rows, scores) in zip(queries_QD, hits, strict=True):
        assert scores.tolist() == (labels_LD[rows].double() @ query_D.double()).float().tolist()
    assert played.asked == [(10, 100, 2)]
    index.search(queries_QD, 150)
    assert played.asked[-1] == (150, 150, 2), "at least k labels are in view"
    assert played.blocks == ["one block", "one block"], "which answers the same each time"
    index.with_search_options({"itopk": 513}).search(queries_QD, 10)
    assert played.blocks[-1] is None, "more than one block can hold"


def test_the_gpu_scores_what_is_found_where_it_has_the_vectors(on_cpu):
    labels_LD, queries_QD = clustered(2000, 80)
    index, _ = on_cpu(labels_LD, itopk=100)
    there = replace(index, vectors=None, gpu=replace(index.gpu, vectors=GpuVectors(labels_LD)))
    expected, hits = index.search(queries_QD, 10), there.search(queries_QD, 10)
    assert rows_of(hits) == rows_of(expected) and hits.scores.tobytes() == expected.scores.tobytes()
    allowed = np.arange(0, 2000, 3)
    assert rows_of(there.search_among(queries_QD, 10, allowed)) == brute_force(labels_LD, queries_QD, 10, allowed)


@pytest.mark.parametrize("spoilt", [-1, 4294967295, 0])
def test_doubles_and_no_rows_never_leave(on_cpu, spoilt):
    """Row 0 twice, or faiss's or cuVS's word for nothing: more is asked for, then all labels are scored."""
    labels_LD, queries_QD = clustered(2000, 20)

    def spoil(rows_QK):
        return np.where(np.arange(rows_QK.shape[1]) % 2, spoilt, rows_QK)

    index, played = on_cpu(labels_LD, spoil)
    hits = index.search(queries_QD, 10)
    assert rows_of(hits) == brute_force(labels_LD, queries_QD, 10)
    assert [view for _, view, _ in played.asked] == [64, 256, 1024]


def test_more_than_cuvs_can_hold_is_an_error(on_cpu):
    labels_LD, queries_QD = clustered(2000, 2)
    index, _ = on_cpu(labels_LD)
    with pytest.raises(DeviceError, match=r"at most 1,024 labels in view, got k = 1,025.*'exact'"):
        index.search(queries_QD, 1025)
    rows = np.arange(0, 2000, 3)
    assert rows_of(index.search_among(queries_QD, 10, rows)) == brute_force(labels_LD, queries_QD, 10, rows)


def test_few_labels_have_no_graph(on_cpu):
    labels_LD, queries_QD = clustered(100, 5)
    index, played = on_cpu(labels_LD)
    assert rows_of(index.search(queries_QD, 10)) == brute_force(labels_LD, queries_QD, 10)
    assert rows_of(index.search(queries_QD, 200)) == brute_force(labels_LD, queries_QD, 100)
    assert played.asked == [(10, None, None), (100, None, None)]


def test_search_options(on_cpu):
    index, _ = on_cpu(clustered(5000, 1)[0])
    assert [step["itopk"] for step in index.search_ladder()] == [32, 64, 128, 256, 512, 1024]
    assert index.with_search_options({"itopk": 128}).report.options["itopk"] == 128
    for options in ({"graph_degree": 32}, {"itopk": 2000}, {"itopk": 4.0}):
        with pytest.raises(ConfigError):
            index.with_search_options(options)


@pytest.mark.parametrize("labels", [100, 2000])
def test_saved_as_faiss_does_and_of_the_estimated_size(on_cpu, labels, tmp_path):
    index, _ = on_cpu(clustered(labels, 5, 64)[0])
    index.save(tmp_path)
    types_read = ("IndexHNSWCagra", "IndexFlat", "IndexFlatIP")
    saved = read_saved(tmp_path, types=types_read).faiss_index
    expected = import_faiss().serialize_index(index.faiss_index)
    assert import_faiss().serialize_index(saved).tobytes() == expected.tobytes()
    if labels == 2000:
        assert index.report.memory_bytes == pytest.approx(len(expected), rel=0.05)


def test_another_index_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("xmc_index_faiss.cagra.choose_cuvs_gpu", lambda *_, **__: 0)
    Hnsw().build([clustered(300, 1)[0]], similarity="dot", device="cpu").save(tmp_path)
    with pytest.raises(ArtifactError, match="IndexHNSWFlat"):
        Cagra().load(tmp_path, device="cuda")


def test_it_is_never_proposed():
    assert not Cagra.proposals(labels=10**7, dimension=384)


@pytest.mark.gpu
@needs_cuvs
@pytest.mark.parametrize("build_by", ["ivf_pq", "nn_descent"])
def test_contract_on_a_gpu(build_by):
    check_index(Cagra(build_by=build_by), device="cuda")


@pytest.mark.gpu
@needs_cuvs
def test_answers_of_a_gpu(tmp_path):
    labels_LD, queries_QD = clustered(6000, 50, 32)
    expected = brute_force(labels_LD, queries_QD, 10)
    index = Cagra().build([labels_LD], similarity="cosine", device="cuda")
    assert index.report.device_used == "cuda:0"
    assert len({index.search(queries_QD, 10).label_rows.tobytes() for _ in range(10)}) == 1
    require_scored_alike(index, queries_QD.repeat(2, 1), 10)
    assert recall(index.search(queries_QD, 10), expected) > 0.9
    index.save(tmp_path)
    loaded = Cagra(itopk=256).load(tmp_path, device="cuda")
    assert recall(loaded.search(queries_QD, 10), expected) > 0.95
