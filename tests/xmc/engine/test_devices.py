"""Invariant: a device that was asked for is used or refused, never replaced."""

import pytest
import torch

from xmc import train_run
from xmc.engine.devices import choose_device
from xmc.errors import ConfigError, DeviceError


def test_auto_takes_a_gpu_when_there_is_one():
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_gpu_that_is_not_there_is_an_error():
    with pytest.raises(DeviceError, match=r"torch sees no GPU\. Use device = 'auto' or 'cpu'"):
        choose_device("cuda")


@pytest.mark.parametrize("name", ["gpu", "cuda:1", "", "CPU"])
def test_an_unknown_device_is_an_error(name):
    with pytest.raises(ConfigError, match="device must be 'auto', 'cpu' or 'cuda'"):
        choose_device(name)


ON_CPUS = ("faiss.hnsw", "faiss.factory", "sparse")
ON_GPUS = () if torch.cuda.is_available() else ("exact", "faiss.flat", "faiss.ivf", "faiss.cagra", "sharded")


@pytest.mark.parametrize("index", ON_CPUS + ON_GPUS)
def test_a_device_that_the_index_cannot_use_is_refused_before_training(index, tmp_path, monkeypatch):
    monkeypatch.setattr("xmc.engine.whole_run.choose_device", lambda wanted: wanted)  # as if torch saw a GPU
    monkeypatch.setattr("xmc.engine.whole_run.run_training", lambda *_, **__: pytest.fail("it trains"))
    with pytest.raises(DeviceError, match=r"CPU|GPU"):
        train_run("tiny", tmp_path / "run", settings=("train.device=cuda", f"index.name={index}"))
    assert not (tmp_path / "run").exists()
