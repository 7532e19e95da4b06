"""Which devices the faiss backends run on; asking for another one is an error, never a silent fallback."""

from __future__ import annotations

from xmc.api import ConfigError, DeviceError


def require_cpu(device: str, *, backend: str) -> None:
    """Accept `auto` (which is recorded as cpu) and `cpu`.

    Raises: DeviceError for a GPU; ConfigError for another word.

    >>> require_cpu("auto", backend="faiss.flat")
    """
    if device in ("auto", "cpu"):
        return
    if device.partition(":")[0] == "cuda":
        raise DeviceError(
            f"index backend '{backend}' runs on the CPU, got device {device!r}.",
            hint="Use device='cpu' or 'auto', or the backend 'exact', which searches on a GPU.",
        )
    raise ConfigError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}.")
