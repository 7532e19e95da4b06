"""Invariants: a GPU is used where it was asked for, or an error says why not; its answers are those of the CPU."""

import types

import numpy as np
import pytest
import torch
from clustered import brute_force, clustered, gpus, recall, require_scored_alike, rows_of

from xmc.config import build_options
from xmc.errors import ConfigError, DeviceError
from xmc_index_faiss import device as device_module
from xmc_index_faiss import gpu as gpu_module
from xmc_index_faiss.factory import Factory
from xmc_index_faiss.flat import Flat
from xmc_index_faiss.gpu import MOST, OnGpu, place
from xmc_index_faiss.hnsw import Hnsw
from xmc_index_faiss.ivf import Ivf
from xmc_index_faiss.label_vectors import HeldVectors

needs_gpu = pytest.mark.skipif(not gpus(), reason="needs a GPU and a faiss built for it")


def faiss_of(*, built, count):
    fake = types.SimpleNamespace(__version__="1.15.1", get_num_gpus=lambda: count)
    if built:
        fake.StandardGpuResources = object
    return fake


@pytest.mark.skipif(gpus() > 0, reason="needs a machine without a GPU")
@pytest.mark.parametrize("backend", [Flat(), Ivf(), Hnsw(), Factory()])
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_that_cannot_be_used_is_an_error(backend, device):
    with pytest.raises(DeviceError, match=r"device='cpu'"):
        backend.build([torch.ones(1, 2)], similarity="dot", device=device)


@pytest.mark.parametrize("backend", [Flat(), Ivf(), Hnsw(), Factory()])
@pytest.mark.parametrize("device", ["", "gpu", "cuda:x", "cuda:", "CPU", "cpu:0"])
def test_other_words_are_refused(backend, device):
    with pytest.raises(ConfigError, match="device must be"):
        backend.build([torch.ones(1, 2)], similarity="dot", device=device)


@pytest.mark.parametrize(
    ("built", "count", "device", "message"),
    [
        (False, 0, "cuda", "built without GPUs.*pip uninstall faiss-cpu"),
        (True, 0, "cuda", "faiss sees 0 GPUs.*xmc doctor"),
        (True, 1, "cuda:1", "faiss sees 1 GPUs"),
    ],
)
def test_the_error_says_what_is_missing(monkeypatch, built, count, device, message):
    monkeypatch.setattr(device_module, "import_faiss", lambda: faiss_of(built=built, count=count))
    with pytest.raises(DeviceError, match=message):
        place(device, backend="faiss.ivf")


def test_auto_takes_a_gpu_that_faiss_can_use_and_says_so(monkeypatch):
    for built, count, name in ((False, 0, None), (True, 0, None), (True, 2, "cuda:0")):
        monkeypatch.setattr(device_module, "import_faiss", lambda b=built, c=count: faiss_of(built=b, count=c))
        gpu = place("auto", backend="faiss.flat")
        assert (gpu and gpu.name) == name
    assert place("cuda:1", backend="faiss.flat").name == "cuda:1"
    assert place("cuda", backend="faiss.flat", spread="shards").name == "cuda (shards)"


@pytest.mark.parametrize("backend", [Flat(float16=True), Flat(spread="replicas"), Ivf(spread="shards")])
def test_options_for_gpus_are_refused_on_the_cpu(backend):
    with pytest.raises(DeviceError, match="is for GPUs"):
        backend.build([torch.ones(9, 2)], similarity="dot", device="cpu")


@pytest.mark.parametrize("backend", [Flat, Ivf])
def test_options_are_checked(backend):
    with pytest.raises(ConfigError, match="spread"):
        build_options(backend, {"spread": "some"}, section="index")


@pytest.mark.parametrize("number", [65_536, -1e6])
def test_numbers_that_float16_would_make_infinite_are_refused(number, monkeypatch, tmp_path):
    labels_LD = torch.tensor([[1.0, 2.0], [number, 0]])
    Flat().build([labels_LD], similarity="dot", device="cpu").save(tmp_path)
    monkeypatch.setattr(gpu_module, "choose_gpu", lambda *_, **__: 0)
    message = r"index.float16 .*65,504, and the label vectors need .*Leave the option"
    with pytest.raises(ConfigError, match=message):
        Flat(float16=True).build([labels_LD], similarity="dot", device="cuda")
    with pytest.raises(ConfigError, match=message):
        Flat(float16=True).load(tmp_path, device="cuda")


def test_more_than_a_gpu_can_select_is_an_error():
    with pytest.raises(DeviceError, match=f"at most {MOST:,} labels on a GPU, got {MOST + 1:,}"):
        OnGpu(None, []).search(np.ones((1, 2), np.float32), MOST + 1, 0)


def test_what_faiss_says_is_told_in_one_line():
    class Fails:
        def search(self, *_, **__):
            raise RuntimeError("Error in void faiss::gpu::f() at a.cu:7: Error: 'x' failed: out of memory\nmore")

    with pytest.raises(DeviceError, match="faiss cannot search on the GPU: 'x' failed: out of memory"):
        OnGpu(Fails(), []).search(np.ones((1, 2), np.float32), 1, 0)


@pytest.mark.skipif(gpus() > 0, reason="needs a machine without a GPU")
def test_an_exact_search_is_not_promised_on_a_gpu(monkeypatch):
    monkeypatch.setattr(gpu_module, "choose_gpu", lambda *_, **__: 0)
    with pytest.raises(DeviceError, match="proves its answers"):
        Ivf(exact=True).build([torch.ones(9, 2)], similarity="dot", device="cuda")


def test_codes_that_a_gpu_cannot_hold_are_refused_before_the_work(monkeypatch):
    def copied(resources, number, index, options):
        if type(index).__name__ == "IndexIVFPQ":
            raise RuntimeError("Error in f() at a.cu:7: Error: 'x' failed: Bits per code must be within [4,8]")

    worked = []
    fake = types.SimpleNamespace(
        StandardGpuResources=object, GpuMultipleClonerOptions=types.SimpleNamespace, index_cpu_to_gpu=copied
    )
    monkeypatch.setattr(gpu_module, "choose_gpu", lambda *_, **__: 0)
    monkeypatch.setattr(gpu_module, "import_faiss", lambda: fake)
    monkeypatch.setattr(gpu_module.Gpu, "train", lambda _, index, sample_SD: worked.append(1) or index)
    labels_LD = clustered(600, 1)[0]
    with pytest.raises(DeviceError, match=r"faiss cannot hold such an index on the GPU: .*Bits per code"):
        Ivf(storage="pq", pq_bits=9).build([labels_LD], similarity="dot", device="cuda")
    assert not worked


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize(
    "backend",
    [
        Flat(),
        Flat(float16=True),
        Flat(spread="replicas"),
        Flat(spread="shards"),
        Ivf(),
        Ivf(storage="sq8"),
        Ivf(storage="pq", pq_m=8, rerank=8),
        Ivf(spread="replicas"),
        Ivf(spread="shards"),
    ],
)
def test_answers_of_a_gpu(backend, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_module, "all_gpus", lambda: [0, 0])  # two copies or two parts, also where there is one GPU
    labels_LD, queries_QD = clustered(6000, 50, 32)
    index = backend.build([labels_LD], similarity="cosine", device="cuda")
    assert index.report.device_used.startswith("cuda")
    expected = brute_force(labels_LD, queries_QD, 10)
    hits = index.search(queries_QD, 10)
    if isinstance(index.vectors, HeldVectors):
        require_scored_alike(index, queries_QD, 10)
    assert np.diff(hits.offsets).tolist() == [10] * 50
    assert recall(hits, expected) > 0.9
    rows = np.arange(0, 6000, 7)
    assert recall(index.search_among(queries_QD, 10, rows), brute_force(labels_LD, queries_QD, 10, rows)) > 0.99
    index.save(tmp_path)
    loaded = backend.load(tmp_path, device="cuda")
    assert recall(loaded.search(queries_QD, 10), expected) > 0.9
    assert rows_of(index.search(queries_QD, 10)) == rows_of(hits)
