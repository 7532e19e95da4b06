"""Numbers from the host to a GPU without waiting for what it is doing."""

from __future__ import annotations

from torch import Tensor, device

PINNED_BYTES = 4_000_000  # memory that was pinned once stays so; larger copies are made once for many steps


def sent(values: Tensor, to: device) -> Tensor:
    """`values.to(to)`; what is small goes through pinned memory: the copy waits for its turn, the caller does not.

    A copy from ordinary memory waits until the GPU has nothing left to do, which a step with a dozen of them feels.

    >>> import torch
    >>> sent(torch.ones(2), torch.device("cpu"))
    tensor([1., 1.])
    """
    if to.type != "cuda" or values.is_cuda or not 0 < values.nbytes <= PINNED_BYTES:
        return values.to(to)
    return values.pin_memory().to(to, non_blocking=True)
