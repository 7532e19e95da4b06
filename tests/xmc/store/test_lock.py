"""Invariants: one holder; a second is refused at once by name; the lock goes with its process, however it dies."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from xmc.errors import LockedError
from xmc.store import locked
from xmc.store.lock import LOCK_NAME

HOLD = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from xmc.store import locked
    with locked(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(600)
    """
)


def test_the_block_runs_and_the_folder_is_made(tmp_path):
    with locked(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b").is_dir()
    assert (tmp_path / "a" / "b" / LOCK_NAME).read_bytes() == b"", "the next holder is not taken for this one"
    with locked(tmp_path / "a" / "b"):
        pass


def test_a_second_holder_in_the_same_process_is_refused(tmp_path):
    with locked(tmp_path), pytest.raises(LockedError, match=rf"pid {os.getpid()}\)"), locked(tmp_path):
        pytest.fail("two writers")


def test_an_error_in_the_block_releases_the_lock(tmp_path):
    with pytest.raises(ValueError, match="x"), locked(tmp_path):
        raise ValueError("x")
    with locked(tmp_path):
        pass


def test_another_process_is_named_and_its_death_releases_the_lock(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=rf"pid {holder.pid}\)") as caught, locked(tmp_path):
            pytest.fail("two writers")
        assert str(tmp_path) in str(caught.value)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with locked(tmp_path):
            assert (tmp_path / LOCK_NAME).read_text() == str(os.getpid()), "beside nothing of the dead one"
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
