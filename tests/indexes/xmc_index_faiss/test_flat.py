import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from clustered import gpus

from xmc.errors import ArtifactError, DeviceError, PluginError
from xmc.testing import check_index
from xmc_index_exact.exact import Exact
from xmc_index_faiss.cagra import Cagra
from xmc_index_faiss.factory import Factory
from xmc_index_faiss.flat import Flat
from xmc_index_faiss.hnsw import Hnsw
from xmc_index_faiss.ivf import Ivf


def test_contract():
    check_index(Flat(), least_recall=1.0)


def test_agrees_with_exact_where_nothing_ties():
    generator = torch.Generator().manual_seed(0)
    labels_LD, queries_QD = torch.randn(2000, 32, generator=generator), torch.randn(40, 32, generator=generator)
    for similarity in ("dot", "cosine"):
        flat, exact = (
            backend.build([labels_LD], similarity=similarity, device="cpu").search(queries_QD, 10)
            for backend in (Flat(), Exact())
        )
        assert flat.label_rows.tolist() == exact.label_rows.tolist()
        np.testing.assert_allclose(flat.scores, exact.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(gpus() > 0, reason="needs a machine without a GPU")
def test_a_gpu_is_refused_and_auto_is_recorded():
    with pytest.raises(DeviceError, match="cuda"):
        Flat().build([torch.ones(1, 2)], similarity="dot", device="cuda")
    assert Flat().build([torch.ones(1, 2)], similarity="dot", device="auto").report.device_used == "cpu"


@pytest.mark.parametrize("damage", ["truncated", "text", "other index", "facts", "size"])
def test_a_folder_that_cannot_be_read_is_an_artifact_error(tmp_path, damage):
    import faiss

    Flat().build([torch.randn(50, 8)], similarity="dot", device="cpu").save(tmp_path)
    path, facts = tmp_path / "index.faiss", tmp_path / "index.json"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    if damage == "text":
        path.write_text("hello")
    if damage == "other index":
        path.write_bytes(faiss.serialize_index(faiss.IndexHNSWFlat(8, 4)).tobytes())
    if damage == "facts":
        facts.write_text("[]")
    if damage == "size":
        facts.write_text(json.dumps(json.loads(facts.read_text()) | {"labels": 49}))
    with pytest.raises(ArtifactError):
        Flat().load(tmp_path, device="cpu")


def test_the_limits_of_faiss_are_put_back(tmp_path):
    import faiss

    before = faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()
    Flat().build([torch.ones(5, 3)], similarity="dot", device="cpu").save(tmp_path)
    Flat().load(tmp_path, device="cpu")
    assert (faiss.get_deserialization_vector_byte_limit(), faiss.get_deserialization_loop_limit()) == before


def test_without_faiss_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(PluginError, match=r"xmc-engine\[cpu\]"):
        Flat().build([torch.ones(1, 2)], similarity="dot", device="cpu")


@pytest.mark.parametrize("backend", [Flat(), Hnsw(), Ivf(), Factory(), Cagra()])
def test_without_faiss_a_training_is_told_before_it_begins(monkeypatch, backend):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(PluginError, match=r"xmc-engine\[cpu\]"):
        backend.require_device("cpu")


def test_declaring_imports_neither_faiss_nor_torch():
    code = """
import sys, xmc_index_faiss, xmc_index_exact
names = [spec.name for module in (xmc_index_exact, xmc_index_faiss) for spec in module.xmc_indexes()]
assert names == ["exact", "flat", "ivf", "hnsw", "cagra", "factory"], names
assert not {"faiss", "torch", "numpy"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
