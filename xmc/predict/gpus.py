"""The GPUs that the workers of a job are shared among: one worker to a GPU, for each holds encoder and index there."""

from __future__ import annotations

import os
from pathlib import Path


def gpus_for(device: str) -> list[str]:
    """The GPUs that a job with this `device` uses on this machine, as CUDA_VISIBLE_DEVICES names them; none on a CPU.

    >>> gpus_for("cpu")
    []
    """
    if device == "cpu" or not has_gpu_driver():  # asked first, for torch takes a second to import
        return []
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[:count] if visible else [str(number) for number in range(count)]


def has_gpu_driver() -> bool:
    """Whether the system knows of a GPU that CUDA may use."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
