"""What belongs to the whole program, and code under test must leave as it is: torch's random generator and modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

from xmc.testing.conformance import expect

STATE: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
    "torch's random generator": (torch.get_rng_state, torch.set_rng_state),
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "whether torch keeps gradients": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
}


@contextmanager
def left_alone(subject: object) -> Iterator[None]:
    """Run code under test, and expect all of `STATE` as it was; it is as it was afterwards in any case.

    What the code raises is left to other checks. Raises: ConformanceError naming the first that was changed.

    >>> with left_alone("Seeds()"):
    ...     _ = torch.manual_seed(0)
    Traceback (most recent call last):
    xmc.testing.conformance.ConformanceError: Seeds(): torch's random generator is left alone
    """
    found = {name: get() for name, (get, _) in STATE.items()}
    torch.manual_seed(0x5EED)  # which nobody seeds with
    before = {name: get() for name, (get, _) in STATE.items()}
    try:
        with suppress(Exception):
            yield
        after = {name: get() for name, (get, _) in STATE.items()}
    finally:
        for name, (_, put) in STATE.items():
            put(found[name])
    for name, value in before.items():
        same = torch.equal(after[name], value) if isinstance(value, torch.Tensor) else after[name] == value
        expect(same, subject, f"{name} is left alone")
