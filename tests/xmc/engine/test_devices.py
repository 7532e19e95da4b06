"""Invariant: a device that was asked for is used or refused, never replaced."""

import pytest
import torch

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
