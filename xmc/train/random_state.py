"""Where torch's random numbers are: of the processor and, once one is in use, of this process's GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def random_state() -> Tensor:
    """The state as bytes, the processor's first; to be kept in a checkpoint.

    >>> before = random_state()
    >>> first = torch.rand(3)
    >>> set_random_state(before)
    >>> bool((torch.rand(3) == first).all())
    True
    """
    processor = torch.get_rng_state()
    return torch.cat([processor, torch.cuda.get_rng_state()]) if torch.cuda.is_initialized() else processor


def set_random_state(state: Tensor) -> None:
    """Go on from what `random_state` gave; a GPU of which it says nothing is left where it is."""
    processor, gpu = state.split([len(torch.get_rng_state()), len(state) - len(torch.get_rng_state())])
    torch.set_rng_state(processor.clone())
    if len(gpu) and torch.cuda.is_available():
        torch.cuda.set_rng_state(gpu.clone())


@contextmanager
def replayed(state: Tensor) -> Iterator[None]:
    """Repeat the random numbers from `state` on in the block, then go on as if nothing had happened."""
    after = random_state()
    set_random_state(state)
    try:
        yield
    finally:
        set_random_state(after)
