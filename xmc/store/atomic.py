"""Write a file so that a reader sees the old content or the new one, never a torn one, whatever happens in between.

Temporary file in the same folder, flush, fsync, size check, rename, fsync of the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_PREFIX = ".tmp-"


def temporary_name(name: str) -> str:
    """A name for a temporary sibling of `name`; `TEMPORARY_PREFIX` lets a later start collect it."""
    return f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}-{name}"


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file whose content becomes `path` when the block ends well, and vanishes when it raises.

    Raises: OSError (disk full, permission), naming the final path.
    """
    temporary = path.with_name(temporary_name(path.name))
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            written = file.tell()
            os.fsync(file.fileno())
        _publish(temporary, path, written)
    except OSError as error:
        raise OSError(error.errno, f"could not write: {error.strerror or error}", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """The same for a library that insists on a path: yields the temporary path, publishes it afterwards."""
    temporary = path.with_name(temporary_name(path.name))
    try:
        yield temporary
        fsync_file(temporary)
        _publish(temporary, path, temporary.stat().st_size)
    finally:
        temporary.unlink(missing_ok=True)


def _publish(temporary: Path, path: Path, expected_size: int) -> None:
    size = temporary.stat().st_size
    if size != expected_size:
        raise OSError(28, f"{size} of {expected_size} bytes reached the disk")
    temporary.replace(path)
    fsync_folder(path.parent)


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path` atomically."""
    with atomic_writer(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` to `path` atomically as indented JSON; NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_file(path: Path) -> None:
    """Force a file's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Force a folder's entries (a rename, say) to the disk."""
    fsync_file(folder)
