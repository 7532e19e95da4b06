"""How the kit says that a promise is not kept."""

from __future__ import annotations

from typing import Any


class ConformanceError(AssertionError):
    """A promise that a loss or an index does not keep; the message shows the numbers."""


def expect(condition: object, subject: object, promise: str, **numbers: Any) -> None:
    """Raise ConformanceError unless `condition` is true; tensors and arrays among `numbers` are shown as lists.

    >>> expect(3 > 4, "Hinge()", "three is more than four", three=3)
    Traceback (most recent call last):
    xmc.testing.conformance.ConformanceError: Hinge(): three is more than four; three=3
    """
    if not condition:
        shown = [f"{name}={value.tolist() if hasattr(value, 'tolist') else value}" for name, value in numbers.items()]
        raise ConformanceError("; ".join([f"{subject}: {promise}", *([", ".join(shown)] if shown else [])]))
