"""A folder that appears whole, under its final name and with its manifest, or not at all; there are no versions of it.

It is filled beside its final place under a temporary name. The writer holds a lock on the folder itself while it fills
it, so that a later one knows which temporary folders a killed writer left.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xmc.errors import ConfigError
from xmc.store.atomic import TEMPORARY_PREFIX, disk_errors_name, fsync_folder, temporary_name
from xmc.store.manifest import seal_folder


def require_new(path: Path) -> None:
    """Refuse a place that `new_folder` would not take.

    Raises: ConfigError when `path` is a file or a link, or holds something.
    """
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ConfigError(f"{path} is a file or a link, expected a folder to write to.", hint="Choose another folder.")
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(f"{path} is not empty.", hint="Choose another folder, or remove that one first.")


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
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path)
    temporary = path.with_name(temporary_name(path.name))
    try:
        with disk_errors_name(path):
            temporary.mkdir()
            with _held(temporary):
                yield temporary
                seal_folder(temporary, kind=kind, facts=facts or {})
                temporary.rename(path)  # refused by the system when something was put there meanwhile
                fsync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_orphans(path: Path) -> None:
    """Remove what killed writers of `path` left; a folder that a living one fills is locked, and stays."""
    for orphan in path.parent.glob(f"{TEMPORARY_PREFIX}*-{path.name}"):
        with contextlib.suppress(OSError), _held(orphan):
            shutil.rmtree(orphan, ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold a lock on the folder, which follows it to its new name and ends with the process."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
