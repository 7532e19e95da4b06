"""Invariants: a signal is a request, not an end; the handlers of before come back; another thread catches nothing."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from xmc.train.signals import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_becomes_a_request(number):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert stop.signal_number is None
        os.kill(os.getpid(), number)
        assert stop.signal_number == number
    assert signal.getsignal(number) is before


def test_handlers_come_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyError), stop_on_signals():
        raise KeyError
    assert signal.getsignal(signal.SIGTERM) is before


def test_another_thread_catches_nothing():
    before = signal.getsignal(signal.SIGTERM)

    def inside():
        with stop_on_signals() as stop:
            return stop.signal_number, signal.getsignal(signal.SIGTERM) is before

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(inside).result() == (None, True)
