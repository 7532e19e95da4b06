import pytest
import torch

from xmc.errors import ConfigError
from xmc_index_exact.device import resolve_device


@pytest.mark.parametrize("word", ["", "gpu", "cuda:", "cuda:x", "cpu:0", "CPU"])
def test_other_words_are_refused(word):
    with pytest.raises(ConfigError, match="device must be"):
        resolve_device(word)


def test_auto_takes_what_is_there():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
