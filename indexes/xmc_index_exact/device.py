"""Turn the user's word for a device into one that is there."""

from __future__ import annotations

import torch

from xmc.api import ConfigError, DeviceError


def resolve_device(device: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `cuda:N`; `auto` takes a GPU when there is one.

    Raises: ConfigError for another word; DeviceError when a GPU is asked for and is not there.

    >>> resolve_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cpu":
        return torch.device("cpu")
    name, colon, number = device.partition(":")
    if name != "cuda" or (colon and not number.isdecimal()):
        raise ConfigError(f"device must be 'auto', 'cpu', 'cuda' or 'cuda:N', got {device!r}.")
    if not torch.cuda.is_available() or int(number or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"device {device!r} was asked for, torch {torch.__version__} sees {torch.cuda.device_count()} GPUs.",
            hint="Use device='cpu' or device='auto', or install a torch build for your GPU.",
        )
    return torch.device(device)
