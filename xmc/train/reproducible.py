"""Training on a GPU with the same bits each time: torch's deterministic kernels, for as long as it trains."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def reproducible(device: str) -> Iterator[None]:
    """Have torch take kernels that add up in one order; afterwards the process's settings are as they were.

    Some sums on a GPU are otherwise added up as threads come by, so that no two runs, and no resumed one, end in the
    same bits. A CPU needs none of this.

    >>> with reproducible("cpu"):
    ...     pass
    """
    if device == "cpu":
        yield
        return
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts; without it torch warns
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = False  # which would write every buffer once more
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*deterministic")
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        settings.fill_uninitialized_memory = filled
