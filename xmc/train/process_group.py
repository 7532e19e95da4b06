"""Join the processes that `torchrun` or `accelerate launch` started; alone when nobody did."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from xmc.errors import ConfigError, DeviceError, PeerError
from xmc.train.distributed import ALONE, Ranks

PATIENCE = timedelta(minutes=30)  # the longest that one rank may work while the others wait, as for a large checkpoint
BACKENDS = "cpu:gloo,cuda:nccl"


def is_first_process() -> bool:
    """Whether this is the process that writes and speaks: rank 0, or the only one."""
    return os.environ.get("RANK", "0") == "0" or int(os.environ.get("WORLD_SIZE", "1")) == 1


@contextmanager
def process_group(device: str) -> Iterator[Ranks]:
    """The ranks of this run for the block, as the launcher's environment (RANK, WORLD_SIZE, MASTER_ADDR …) says.

    A group that the caller has set up before is used and left as it is. With `cuda` each process takes the GPU of its
    LOCAL_RANK. Raises: ConfigError for an incomplete environment; DeviceError for more processes than GPUs.
    """
    if device == "cuda" and "LOCAL_RANK" in os.environ:
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    if dist.is_available() and dist.is_initialized():
        yield Ranks(dist.get_rank(), dist.get_world_size())
        return
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield ALONE
        return
    ranks = _join(device)
    try:
        yield ranks
        ranks.wait()
    finally:
        dist.destroy_process_group()


def _join(device: str) -> Ranks:
    try:
        dist.init_process_group(BACKENDS if device == "cuda" else "gloo", timeout=PATIENCE)
    except ValueError as error:
        raise ConfigError(
            f"WORLD_SIZE is set, but the rest of a launcher's environment is not: {error}",
            hint="Start xmc with torchrun or accelerate launch, or unset WORLD_SIZE.",
        ) from error
    except RuntimeError as error:
        raise PeerError(f"the processes did not find each other: {str(error).partition(chr(10))[0]}") from error
    return Ranks(dist.get_rank(), dist.get_world_size())


def _take_gpu(number: int) -> None:
    if number >= torch.cuda.device_count():
        raise DeviceError(
            f"process {number} of this machine has no GPU: torch sees {torch.cuda.device_count()}.",
            hint="Start as many processes as there are GPUs, or use device = 'cpu'.",
        )
    torch.cuda.set_device(number)
