"""Turn SIGTERM, SIGINT and SIGHUP into a request that who works answers: the training loop with a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequest:
    """Holds the number of the signal that came, or None."""

    signal_number: int | None = None

    def __call__(self, signal_number: int, frame: FrameType | None) -> None:
        """The signal handler."""
        del frame
        self.signal_number = signal_number


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch the signals in the block; outside the main thread, where Python allows no handlers, catch nothing.

    SIGHUP stays ignored where it is: nohup asks for that.
    """
    request = StopRequest()
    with kept_handlers():
        if threading.current_thread() is threading.main_thread():
            for number in NUMBERS:
                if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, request)
        yield request


@contextmanager
def kept_handlers() -> Iterator[None]:
    """Put the handlers of the signals back after the block, whoever sets others in it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in NUMBERS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
