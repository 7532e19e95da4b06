"""How much of a step's texts a pass of the encoder has: what an encoder's own term of the loss is weighed by.

Texts are embedded in chunks, by several processes and in several batches of one step, and the gradients of all these
passes are added up. What has a text's own gradient comes out right; a term of the pass as a whole would count once each
time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_share: ContextVar[float] = ContextVar("text_share", default=1.0)


@contextmanager
def part_of_texts(share: float) -> Iterator[None]:
    """Within, each pass has this share of the texts that are embedded for one step in the same role.

    >>> with part_of_texts(0.25):
    ...     text_share()
    0.25
    >>> text_share()
    1.0
    """
    before = _share.set(share)
    try:
        yield
    finally:
        _share.reset(before)


def text_share() -> float:
    """The share that this pass has; 1 where nobody says otherwise."""
    return _share.get()
