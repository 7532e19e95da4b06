"""Which device a run uses; never a silent fallback."""

from __future__ import annotations

import torch

from xmc.errors import ConfigError, DeviceError


def choose_device(wanted: str) -> str:
    """`auto` is a GPU when there is one; asking for `cuda` without one is an error.

    Raises: DeviceError, ConfigError for an unknown name.
    """
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device 'cuda' was asked for, but torch sees no GPU.", hint="Use device = 'auto' or 'cpu'.")
    if wanted not in ("cpu", "cuda"):
        raise ConfigError(f"device must be 'auto', 'cpu' or 'cuda', got {wanted!r}.")
    return wanted
