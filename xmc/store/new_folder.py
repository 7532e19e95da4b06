"""A folder that appears whole, under its final name, or not at all; there are no versions of it.

It is filled beside its final place under a temporary name. The writer holds a lock on the folder itself while it fills
it, so that a later one knows which temporary folders a killed writer left.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xmc.errors import ConfigError
from xmc.store.atomic import disk_errors_name, fsync_folder, held, remove_left_behind, temporary_name
from xmc.store.manifest import seal_folder


def require_new(path: Path) -> None:
    """Refuse a place that `new_folder` would not take.

    Raises: ConfigError when `path` is a file or a link, or holds something, and as `require_folders_above`.
    """
    require_folders_above(path)
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ConfigError(f"{path} is a file or a link, expected a folder to write to.", hint="Choose another folder.")
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"{path} is not empty.", hint="Choose another folder, or remove that one first.")


def require_folders_above(path: Path) -> None:
    """Refuse a folder that cannot be made. Raises: ConfigError when a file is where one above it is or would be."""
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ConfigError(f"{above} is a file, so {path} cannot be made in it.", hint="Choose another folder.")


@contextlib.contextmanager
def new_folder(path: Path, *, kind: str, facts: dict[str, Any] | None = None) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes `path`, with a manifest, when the block ends well, and goes when not.

    `facts` (JSON) go into the manifest; may be filled in the block.
    Raises: as `require_new`; OSError when the disk refuses.

    >>> import tempfile
    >>> from xmc.store.manifest import verify_folder
    >>> out = Path(tempfile.mkdtemp()) / "notes"
    >>> with new_folder(out, kind="notes") as folder:
    ...     _ = (folder / "a.txt").write_text("hello")
    >>> list(verify_folder(out, kind="notes").files)
    ['a.txt']
    """
    require_new(path)
    with _filled(path) as temporary:
        yield temporary
        seal_folder(temporary, kind=kind, facts=facts or {})
        temporary.rename(path)  # refused by the system when something was put there meanwhile


@contextlib.contextmanager
def replaced_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; it takes the place of `path`, which may hold something, when the block ends well.

    Its files must be on the disk by then. Whenever the process ends, `path` is the old folder or the new one, whole.
    Raises: OSError when the disk refuses.

    >>> import tempfile
    >>> out = Path(tempfile.mkdtemp()) / "notes"
    >>> for text in ("old", "new"):
    ...     with replaced_folder(out) as folder:
    ...         _ = (folder / "a.txt").write_text(text)
    >>> (out / "a.txt").read_text()
    'new'
    """
    path = path.resolve()  # of a link to a folder, the folder
    with _filled(path) as temporary:
        yield temporary
        fsync_folder(temporary)
        if path.exists():
            _exchange(temporary, path)
        else:
            temporary.rename(path)


@contextlib.contextmanager
def _filled(path: Path) -> Iterator[Path]:
    """A locked temporary folder beside `path`; what is under its name when the block ends goes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_behind(path)
    temporary = path.with_name(temporary_name(path.name))
    try:
        with disk_errors_name(path):
            temporary.mkdir()
            with held(temporary):
                yield temporary
                fsync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change names at once. Where the system cannot, one is out of its place for a moment."""
    here, at_once = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    rename = getattr(ctypes.CDLL(None), "renameat2", None)
    if rename is not None and rename(here, os.fsencode(one), here, os.fsencode(other), at_once) == 0:
        return
    aside = other.with_name(temporary_name(f"{other.name}-before"))  # no orphan by its name: nobody else removes it
    other.rename(aside)
    try:
        one.rename(other)
    except OSError:
        aside.rename(other)
        raise
    aside.rename(one)
