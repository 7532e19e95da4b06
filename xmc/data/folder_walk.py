"""What lies in a folder of this machine, links followed: files, and what is none, for nothing is passed over unseen."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE, FOLDER, SPECIAL, DANGLING, LOOP = "file", "folder", "special", "dangling", "loop"


@dataclass(frozen=True)
class Entry:
    """Something below a folder: its path from there, what it is, and of a file its size and time."""

    name: str
    kind: str = FILE
    size: int = 0
    modified_ns: int = 0


def walk(folder: str, *, recursive: bool) -> Iterator[Entry]:
    """All of them, a folder before what lies in it, else in no order; nothing where there is no folder.

    Folders are entered when the walk is `recursive`. A link to a folder is that folder, unless it leads back to one
    above it, be it above `folder` itself: that is a LOOP and not entered.
    Raises: OSError for a folder that cannot be read.
    """
    if os.path.isdir(folder):  # noqa: PTH112 - names stay text, as pyarrow has them
        place = Path(folder).resolve()
        above = frozenset(_identity(here.stat()) for here in (place, *place.parents))
        yield from _below(folder, "", recursive, above)


def _below(folder: str, prefix: str, recursive: bool, above: frozenset[tuple[int, int]]) -> Iterator[Entry]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = prefix + entry.name
            try:
                state = entry.stat()
            except OSError:
                if entry.is_symlink():
                    yield Entry(name, DANGLING)
                    continue
                if not os.path.lexists(entry.path):
                    continue  # removed since the folder was listed
                raise
            if not stat.S_ISDIR(state.st_mode):
                kind = FILE if stat.S_ISREG(state.st_mode) else SPECIAL
                yield Entry(name, kind, state.st_size, state.st_mtime_ns)
            elif recursive and _identity(state) in above:
                yield Entry(name, LOOP)
            else:
                yield Entry(name, FOLDER)
                if recursive:
                    yield from _below(entry.path, name + "/", True, above | {_identity(state)})


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino
