"""Invariants: what is said to a terminal that has closed is lost without an error; other refusals and streams stay."""

import contextlib
import errno
import os
import sys

import pytest

from xmc.cli.progress import TrainingDisplay
from xmc.cli.terminal import outlive_terminal


@contextlib.contextmanager
def in_terminal(monkeypatch):
    """The end of a terminal that an emulator has; the other one is both streams of this process."""
    ours, theirs = os.openpty()
    os.set_blocking(ours, False)
    streams = [os.fdopen(os.dup(theirs), "w", encoding="utf-8") for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        yield ours
    for stream in streams:
        with contextlib.suppress(OSError):  # of what it could not write before
            stream.close()
    os.close(theirs)


def said_to(terminal):
    said = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            said += os.read(terminal, 1 << 16)
    return said


def test_progress_outlives_its_terminal(monkeypatch):
    with in_terminal(monkeypatch) as terminal:
        outlive_terminal()
        with TrainingDisplay() as display:
            display.epoch_finished({"epoch": 1, "loss": 0.5, "validation_p1": 0.25, "seconds": 3})
            assert b"epoch 1: loss 0.5000" in said_to(terminal)
            os.close(terminal)
            display.epoch_finished({"epoch": 2, "loss": 0.5, "validation_p1": 0.25, "seconds": 3})
            display.step_finished(7, 9, 0.5, 1)
        print("the end", flush=True)


def test_without_this_it_would_end_the_work(monkeypatch):
    with in_terminal(monkeypatch) as terminal:
        os.close(terminal)
        with pytest.raises(OSError, match="Input/output error") as raised:
            print("epoch 1", file=sys.stderr, flush=True)
    assert raised.value.errno == errno.EIO


def test_a_file_stays_as_it_is(monkeypatch, tmp_path):
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stderr", log)
        outlive_terminal()
        assert sys.stderr is log
