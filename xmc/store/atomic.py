"""Write a file so that a reader sees the old content or the new one, never a torn one, whatever happens in between.

Temporary file in the same folder, flush, fsync, size check, rename, fsync of the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

TEMPORARY_PREFIX = ".tmp-"
COULD_NOT_WRITE = "could not write: "


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
        with disk_errors_name(path):
            with temporary.open("xb") as file:
                yield file
                file.flush()
                written = file.tell()
                os.fsync(file.fileno())
            _publish(temporary, path, written)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """The same for a library that insists on a path: yields the temporary path, publishes it afterwards.

    Raises: OSError (disk full, permission), naming the final path.
    """
    temporary = path.with_name(temporary_name(path.name))
    try:
        with disk_errors_name(path):
            yield temporary
            fsync_file(temporary)
            _publish(temporary, path, temporary.stat().st_size)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def disk_errors_name(path: Path) -> Iterator[None]:
    """Turn what a failing disk makes the block raise into an OSError that names `path`, the thing being written.

    Writers in Rust (safetensors, tokenizers) raise their own errors and tell the number in the text only.
    """
    try:
        yield
    except OSError as error:
        if error.filename is not None and TEMPORARY_PREFIX not in str(error.filename):
            raise  # it names a file of its own already
        reason = str(error.strerror or error).removeprefix(COULD_NOT_WRITE)
        raise OSError(error.errno, COULD_NOT_WRITE + reason, str(path)) from error
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, COULD_NOT_WRITE + os.strerror(number), str(path)) from error


def remove_temporaries(folder: Path, names: Iterable[str] = ("*",)) -> None:
    """Remove what killed writers of the files `names` left in `folder`; only for who alone may write them."""
    for name in names:
        for path in folder.glob(f"{TEMPORARY_PREFIX}*-{name}"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


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
