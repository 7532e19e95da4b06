"""Invariants: torch is deterministic inside, and set as it was afterwards, whatever happened inside."""

import os

import pytest
import torch

from xmc.train.reproducible import reproducible


def settings():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )


@pytest.mark.parametrize("before", [(False, False, True), (True, True, True), (True, False, False)])
def test_the_settings_of_the_process_come_back(monkeypatch, before):
    monkeypatch.setitem(os.environ, "CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    old = settings()
    try:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.utils.deterministic.fill_uninitialized_memory = before[2]
        with pytest.raises(RuntimeError, match="inside"), reproducible("cuda"):
            assert settings() == (True, True, False)
            raise RuntimeError("inside")
        assert settings() == before
        with reproducible("cpu"):
            assert settings() == before
    finally:
        torch.use_deterministic_algorithms(old[0], warn_only=old[1])
        torch.utils.deterministic.fill_uninitialized_memory = old[2]
