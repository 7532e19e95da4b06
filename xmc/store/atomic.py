"""Write a file so that a reader sees the old content or the new one, never a torn one, whatever happens in between.

Temporary file in the same folder, flush, fsync, size check, rename, fsync of the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from xmc.counted import counted

TEMPORARY_PREFIX = ".tmp-"
COULD_NOT_WRITE = "could not write: "


def temporary_name(name: str) -> str:
    """A name for a temporary sibling of `name`; `TEMPORARY_PREFIX` lets a later writer collect it."""
    return f"{TEMPORARY_PREFIX}{uuid.uuid4().hex[:12]}-{name}"


_NAME_BEGINS = len(temporary_name(""))


@contextlib.contextmanager
def atomic_writer(path: Path, *, collect: bool = True, forced: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary file whose content becomes `path` when the block ends well, and vanishes when it raises.

    What killed writers of the same file left is removed first, unless `collect` is False: for folders of many files,
    which something else keeps clean. What is not `forced` to the disk may be torn or gone after a loss of power, though
    not after a kill: for what its reader checks, and can do without.
    Raises: OSError (disk full, permission), naming the final path.
    """
    if collect:
        remove_left_behind(path)
    with disk_errors_name(path), _temporary_file(path) as (temporary, file):
        yield file
        file.flush()
        if forced:
            os.fsync(file.fileno())
        _publish(temporary, path, file.tell())
        if forced:
            fsync_folder(path.parent)


@contextlib.contextmanager
def _temporary_file(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A new file beside `path`, which goes when the block ends; locked, so that nobody takes it for one left behind."""
    while True:
        temporary = path.with_name(temporary_name(path.name))
        with temporary.open("xb") as file:
            try:
                if not _lock(file.fileno()) or not temporary.exists():
                    continue  # another writer took it for such a one before it was locked
                yield temporary, file
            finally:
                temporary.unlink(missing_ok=True)
        return


def remove_left_behind(path: Path) -> None:
    """Remove the temporary siblings of `path` whose writers are dead; those of living ones are locked, and stay."""
    with contextlib.suppress(OSError):  # where the folder cannot be listed, whoever writes there says why
        for orphan in [sibling for sibling in path.parent.iterdir() if _is_temporary(sibling.name, path.name)]:
            with contextlib.suppress(OSError), held(orphan):
                _remove(orphan)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock on a file or folder, which follows it to its new name and ends with the process.

    Raises: OSError when another holds it, or it is not there.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


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


def remove_temporaries(folder: Path, names: Iterable[str] = ()) -> None:
    """Remove all temporaries in `folder`, or those of the files `names`; only for who alone may write them."""
    known = frozenset(names)
    for path in folder.iterdir() if folder.is_dir() else ():
        if any(_is_temporary(path.name, name) for name in known) if known else path.name.startswith(TEMPORARY_PREFIX):
            _remove(path)


def _is_temporary(name: str, of: str) -> bool:
    return name.startswith(TEMPORARY_PREFIX) and name[_NAME_BEGINS:] == of


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _lock(descriptor: int) -> bool:
    """Lock an open file; False when another holds it. A file system without locks is written to without."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _publish(temporary: Path, path: Path, expected_size: int) -> None:
    size = temporary.stat().st_size
    if size != expected_size:
        raise OSError(28, f"{size} of {counted(expected_size, 'byte')} reached the disk")
    temporary.replace(path)


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


def fsync_all(folder: Path) -> None:
    """Force a folder with all below it to the disk."""
    for path in sorted(folder.rglob("*"), reverse=True):
        fsync_file(path)
    fsync_folder(folder)


def link_or_copy(source: str, target: str) -> None:
    """Give a file that nobody writes into any more a second name, or where the disk has no such links a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
