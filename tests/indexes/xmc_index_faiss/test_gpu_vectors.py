"""Invariants: vectors on a GPU score as those of the host, to the bit; where there is no room, the host's are used.

The GPU is played by the CPU, but for the tests of test_gpu.py and test_cagra.py that are marked `gpu`.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xmc.errors import DeviceError, XmcWarning
from xmc_index_faiss import gpu_vectors as gpu_vectors_module
from xmc_index_faiss.device import on_gpu
from xmc_index_faiss.gpu import Gpu, OnGpu
from xmc_index_faiss.gpu_vectors import GpuVectors
from xmc_index_faiss.hnsw import Hnsw
from xmc_index_faiss.label_vectors import HeldVectors
from xmc_index_faiss.rescoring import best_rescored
from xmc_index_faiss.row_scan import scan_rows


def drawn(seed, labels, queries, *, whole):
    """Label and query vectors; of whole numbers, so that many scores tie."""
    generator = np.random.default_rng(seed)
    draw = generator.integers(-2, 3, (labels, 9)) if whole else generator.standard_normal((labels, 9))
    return draw.astype(np.float32), generator.integers(-3, 4, (queries, 9)).astype(np.float32), generator


@settings(max_examples=40)
@given(
    seed=st.integers(0, 10**6),
    queries=st.integers(1, 40),
    candidates=st.integers(1, 60),
    k=st.integers(1, 12),
    whole=st.booleans(),
    slice_bytes=st.sampled_from([1, 50_000, 256 << 20]),
)
def test_candidates_are_scored_as_on_the_host(seed, queries, candidates, k, whole, slice_bytes):
    labels_LD, queries_QD, generator = drawn(seed, 300, queries, whole=whole)
    rows_QM = np.array([generator.permutation(300)[:candidates] for _ in range(queries)])
    rows_QM[generator.random(rows_QM.shape) < 0.2] = -1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_vectors_module, "GPU_SLICE_BYTES", slice_bytes)
        found = GpuVectors(torch.from_numpy(labels_LD)).best(queries_QD, rows_QM, k)
    expected = best_rescored(queries_QD, HeldVectors(labels_LD), rows_QM, k)
    there = expected[0] > -np.inf
    assert np.array_equal(found[0], expected[0])
    assert np.array_equal(found[1][there], expected[1][there]) and (found[1][~there] < 0).all()


@pytest.mark.parametrize("kept", [0, 1, 5, 300])
def test_allowed_labels_are_scanned_as_on_the_host(kept):
    labels_LD, queries_QD, generator = drawn(3, 300, 20, whole=True)
    rows = np.sort(generator.permutation(300)[:kept])
    found = scan_rows(queries_QD, GpuVectors(torch.from_numpy(labels_LD)), rows, 7)
    expected = scan_rows(queries_QD, HeldVectors(labels_LD), rows, 7)
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert found.scores.tobytes() == expected.scores.tobytes()


NEEDED = 2 * 4 * 300 * 9  # twice what the vectors take


@pytest.fixture
def a_gpu(monkeypatch):
    """torch sees so many GPUs with so much free memory, of which it gets the vectors into `room`."""

    def made(gpus, free, room=10**12):
        def empty(*shape, device):
            if 4 * math.prod(shape) > room:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return real(*shape)

        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (free, 10**10))
        monkeypatch.setattr(torch, "empty", empty)

    real = torch.empty
    return made


@pytest.mark.parametrize("memory", [(0, 10**9), (1, NEEDED - 1), (1, NEEDED, NEEDED // 2 - 1)])
def test_without_a_gpu_of_torch_or_room_there_are_none_and_it_is_said(a_gpu, memory):
    a_gpu(*memory)
    vectors = HeldVectors(drawn(0, 300, 1, whole=False)[0])
    assert GpuVectors.copy(vectors, (300, 9), 0) is None
    with pytest.warns(XmcWarning, match=r"of 300 labels \(0 MB\) have no room on the GPU 0 .* Answers are the same"):
        assert Gpu(0)._copy_vectors(vectors, (300, 9)) is None


def test_the_copy_is_whole(a_gpu, monkeypatch):
    a_gpu(1, NEEDED)
    monkeypatch.setattr(gpu_vectors_module, "_ROWS_AT_A_TIME", 64)
    labels_LD = drawn(0, 300, 1, whole=False)[0]
    copy = GpuVectors.copy(HeldVectors(labels_LD), (300, 9), 0)
    assert np.array_equal(copy.matrix_LD.numpy(), labels_LD)


def test_a_gpu_out_of_memory_is_told_in_one_line():
    class Full(GpuVectors):
        def gather(self, label_rows_N):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")

    index = Hnsw().build([torch.randn(600, 9)], similarity="dot", device="cpu")
    index = replace(index, gpu=OnGpu(None, [], Full(torch.ones(600, 9))))
    with pytest.raises(DeviceError, match=r"torch cannot score the labels on the GPU: CUDA out of memory\. Tried"):
        index.search_among(torch.ones(1, 9), 3, np.arange(5))
    with pytest.raises(DeviceError, match="faiss cannot build on the GPU: MemoryError"), on_gpu("build"):
        raise MemoryError
    with pytest.raises(DeviceError, match="torch cannot score the candidates on the GPU"):
        index._best_rescored(np.ones((1, 9), np.float32), np.arange(600)[None], 3)
