"""Turn SIGTERM and SIGINT into a request that the training loop answers after its step, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Holds the number of the signal that came, or None."""

    signal_number: int | None = None

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        del frame
        self.signal_number = signal_number


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch the two signals in the block; outside the main thread, where Python allows no handlers, catch nothing."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, request) for number in numbers]
    try:
        yield request
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
