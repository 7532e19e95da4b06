"""Invariants: a signal is a request, not an end; the handlers of before come back; another thread catches nothing;
what nohup or a shell ignores stays ignored; or a signal ends the block at once."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from xmc.train.signals import Stopped, stop_on_signals, stopped_by_signals


@pytest.fixture(autouse=True)
def not_under_nohup():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_becomes_a_request(number):
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert stop.signal_number is None
        os.kill(os.getpid(), number)
        assert stop.signal_number == number
    assert signal.getsignal(number) is before


def test_under_nohup_the_end_of_the_terminal_is_no_request():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_on_signals() as stop:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stop.signal_number is None
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_number == signal.SIGTERM
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_block_unless_it_was_ignored(number):
    before = signal.signal(number, signal.SIG_DFL)  # whoever started the tests may have SIGINT ignored
    with pytest.raises(Stopped, match=number.name) as stopped, stopped_by_signals():
        with stop_on_signals() as stop:  # which a verb may have of its own
            os.kill(os.getpid(), number)
            assert stop.signal_number == number
        os.kill(os.getpid(), number)
    assert stopped.value.signal_number == number
    signal.signal(number, signal.SIG_IGN)
    with stopped_by_signals():
        os.kill(os.getpid(), number)
    assert signal.signal(number, before) == signal.SIG_IGN
