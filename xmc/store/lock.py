"""One writer a folder: an advisory lock that the kernel drops when its process dies, kill −9 included.

The kernel cannot tell threads that wait for one another from other processes, which are refused: these are `in_turn`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from weakref import WeakValueDictionary

from xmc.errors import LockedError
from xmc.store.atomic import disk_errors_name

LOCK_NAME = ".lock"
_TURNS: WeakValueDictionary[Path, threading.Lock] = WeakValueDictionary()
_LOOKING_UP = threading.Lock()


@contextlib.contextmanager
def in_turn(folder: Path) -> Iterator[None]:
    """Let the threads of this process into the block one after the other, by whatever path they know the folder."""
    with _LOOKING_UP:
        turn = _TURNS.setdefault(folder.resolve(), threading.Lock())
    with turn:
        yield


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's writer lock for the block; the folder is made if it is missing.

    Raises: LockedError at once when another process holds it, naming that process; OSError when the disk refuses.
    """
    path = folder / LOCK_NAME
    with _held_file(path) as file:
        with disk_errors_name(path):
            file.truncate(0)
            file.write(str(os.getpid()).encode())
        try:
            yield
        finally:
            file.truncate(0)  # else the next holder could be refused in the name of this one


def _held_file(path: Path) -> FileIO:
    """The lock file, locked: that which has the name, for a holder may remove it when it removes the folder."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab+", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(20).decode("ascii", "replace").strip() or "unknown"
            file.close()
            raise LockedError(
                f"{path.parent} is being written by another process (pid {holder}).",
                hint="Wait for it, stop it, or choose another folder.",
            ) from None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(path.stat(), os.fstat(file.fileno())):
                return file
        file.close()
