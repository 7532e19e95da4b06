"""Write a file wherever it is, whole or not at all: on this machine by rename, in a store as one uploaded object.

A store has no rename. The content is first written to an unnamed file of this machine's temporary folder, and uploaded
when it is complete; a store shows an object only when its upload has ended, so that nobody reads half of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from xmc.counted import counted
from xmc.store.atomic import atomic_writer, disk_errors_name
from xmc.store.location import Location, store_errors

COPY_BYTES = 8 << 20


class HashedFile:
    """A file to write to that knows size and SHA-256 of what went through it.

    >>> import io
    >>> file = HashedFile(io.BytesIO())
    >>> file.write(b"abc"), file.size, file.sha256[:8]
    (3, 3, 'ba7816bf')
    """

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """Of everything written so far."""
        return self._hash.hexdigest()

    def write(self, data: Any) -> int:
        """Write bytes."""
        self._hash.update(data)
        self._file.write(data)
        written = memoryview(data).nbytes
        self.size += written
        return written

    def tell(self) -> int:
        """Bytes written so far."""
        return self.size

    def flush(self) -> None:
        """Hand on what is buffered."""
        self._file.flush()

    def readable(self) -> bool:
        """It is not."""
        return False

    def writable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is not: the hash goes forward only."""
        return False


@contextlib.contextmanager
def location_writer(location: Location, *, forced: bool = True) -> Iterator[HashedFile]:
    """Yield a file whose content becomes `location` when the block ends well, and vanishes when it raises.

    `forced` as in `atomic_writer`, where the location is on this machine.
    Raises: OSError (disk full, permission) naming the path; ArtifactError when a store refuses.
    """
    path = location.local
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_writer(path, collect=False, forced=forced) as file:  # xmc.predict.ledger keeps these folders clean
            yield HashedFile(file)
        return
    with tempfile.TemporaryFile(prefix="xmc-upload-") as file:
        hashed = HashedFile(file)
        with _spool_errors():
            yield hashed
            file.flush()
        file.seek(0)
        _upload(file, location, hashed.size)


def write_json_at(location: Location, value: Any, *, forced: bool = True) -> None:
    """Write `value` as indented JSON; NaN and infinity are refused (ValueError)."""
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    write_text_at(location, text, forced=forced)


def write_text_at(location: Location, text: str, *, forced: bool = True) -> None:
    """Write `text`, UTF-8."""
    with location_writer(location, forced=forced) as file:
        file.write(text.encode())


def delete_at(location: Location) -> None:
    """Remove a file; nothing when there is none."""
    with contextlib.suppress(FileNotFoundError), store_errors(location):
        system, path = location.opened()
        system.delete_file(path)


@contextlib.contextmanager
def _spool_errors() -> Iterator[None]:
    """A full temporary folder is named as such."""
    with disk_errors_name(Path(tempfile.gettempdir())):
        yield


def _upload(file: BinaryIO, location: Location, size: int) -> None:
    """Only the copy happens between opening and closing: a stream that is closed early would be a short object."""
    with store_errors(location):
        system, path = location.opened()
        with system.open_output_stream(path) as stream:
            shutil.copyfileobj(file, stream, COPY_BYTES)
    uploaded = location.size()
    if uploaded != size:
        raise OSError(5, f"{uploaded} of {counted(size, 'byte')} reached the store", location.shown)
