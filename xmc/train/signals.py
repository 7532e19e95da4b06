"""SIGTERM, SIGINT and SIGHUP as a request that who works answers (training, with a checkpoint), or as an exception."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Collection, Iterator
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


class Stopped(BaseException):
    """A signal came; no `Exception`, as `KeyboardInterrupt` is none, for whoever catches these goes on."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Catch the signals in the block; outside the main thread catch nothing. SIGHUP stays ignored where it is."""
    request = StopRequest()
    with _answered_by(request, unless_ignored=(signal.SIGHUP,)):
        yield request


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let the signals that are not ignored end the block, as Ctrl-C alone would: what it had begun is cleared away.

    Raises: Stopped.
    """

    def stop(signal_number: int, frame: FrameType | None) -> None:
        del frame
        raise Stopped(signal_number)

    with _answered_by(stop, unless_ignored=NUMBERS):
        yield


@contextmanager
def _answered_by(
    handler: Callable[[int, FrameType | None], None], *, unless_ignored: Collection[int]
) -> Iterator[None]:
    """Let a handler answer the signals in the block; outside the main thread, where Python allows none, it does not.

    Those of `unless_ignored` stay ignored where they are: nohup asks for that with SIGHUP, a shell's `&` with SIGINT.
    """
    with kept_handlers():
        if threading.current_thread() is threading.main_thread():
            for number in NUMBERS:
                if number not in unless_ignored or signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, handler)
        yield


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
