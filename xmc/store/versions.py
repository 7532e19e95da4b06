"""A folder of immutable versions with a `CURRENT` pointer: `root/v000001/…`, `root/CURRENT`.

A version is written under a temporary name, hashed, forced to disk, renamed, and only then named by `CURRENT`;
a reader therefore sees the last committed version at any moment, kill −9 included.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from xmc.errors import ArtifactError, LockedError
from xmc.store.atomic import (
    disk_errors_name,
    fsync_all,
    fsync_folder,
    link_or_copy,
    remove_temporaries,
    sha256_of,
    temporary_name,
    write_bytes,
)
from xmc.store.lock import locked
from xmc.store.manifest import MANIFEST_NAME, Manifest, damaged, is_sealed_as, seal_folder, verify_folder
from xmc.utf8 import require_utf8

CURRENT_NAME = "CURRENT"
CURRENT_BYTES = 1 << 12  # more than a pointer has; a damaged one may be of any size
Parsed = TypeVar("Parsed")
VERSION_PATTERN = re.compile(r"v[0-9]{6,}")


@dataclass(frozen=True)
class Version:
    """A verified version: its folder, the SHA-256 of its manifest (its identity) and the manifest."""

    folder: Path
    sha256: str
    manifest: Manifest


class VersionedFolder:
    """Versions of one artefact (`kind` says which) under `root`.

    >>> import tempfile, pathlib
    >>> store = VersionedFolder(pathlib.Path(tempfile.mkdtemp()), kind="notes")
    >>> with store.new_version(facts={"step": 3}) as folder:
    ...     _ = (folder / "a.txt").write_text("hello")
    >>> (store.current().folder / "a.txt").read_text(), store.current().manifest.facts
    ('hello', {'step': 3})
    """

    def __init__(self, root: Path, *, kind: str, note: Path | None = None, if_lost: str = "") -> None:
        """`note`: a file elsewhere, made with the first version, by which a folder that is gone is missed.

        `if_lost`: what is to be done then. Raises: ConfigError for a path that is not UTF-8.
        """
        require_utf8(root)
        self.root = Path(root)
        self.kind = kind
        self._note = note
        self._if_lost = if_lost

    def exists(self) -> bool:
        """Whether a version was ever committed here (even if it is damaged or gone now)."""
        committed = os.path.lexists(self.root / CURRENT_NAME) or max(self._numbers(), default=0) > 1
        return committed or self._is_no_folder() or self._is_noted()

    def is_empty(self) -> bool:
        """Whether nothing is here that looks like a version, committed or not."""
        return not (self.exists() or self._numbers())

    def repeat(self, *, keep: int = 2, keep_bytes: int | None = None) -> None:
        """Commit the current version once more; its files take no room again where the disk has links.

        `keep` and `keep_bytes` as in `new_version`. Raises: as `new_version`; ArtifactError when there is none.
        """
        with self._new_folder() as temporary:
            version = self.current(only=())
            shutil.copytree(version.folder, temporary, copy_function=link_or_copy, dirs_exist_ok=True)
            fsync_all(temporary)
            self._commit(temporary, version.sha256, keep, keep_bytes)

    def repeat_first(self, *, keep: int = 2, keep_bytes: int | None = None) -> None:
        """Commit a first version once more: if `CURRENT` is lost, a second one tells that there was one.

        The first is committed without it: where the disk refuses it, or another process writes, the next one tells.
        """
        if self._numbers() == [1]:
            with contextlib.suppress(LockedError, OSError):
                self.repeat(keep=keep, keep_bytes=keep_bytes)

    @contextlib.contextmanager
    def new_version(
        self, *, facts: dict[str, Any] | None = None, keep: int = 2, keep_bytes: int | None = None
    ) -> Iterator[Path]:
        """Yield an empty folder to fill; commit it as the new current version when the block ends well.

        `facts` (JSON) go into the manifest; may be filled in the block. The newest `keep` versions stay, older go; with
        `keep_bytes` those before the new one stay only while they take no more together, but for the last of them.
        Raises: LockedError when another process is writing here, OSError when the disk refuses.
        """
        with self._new_folder() as temporary:
            yield temporary
            self._commit(temporary, seal_folder(temporary, kind=self.kind, facts=facts or {}), keep, keep_bytes)

    @contextlib.contextmanager
    def _new_folder(self) -> Iterator[Path]:
        """A folder to commit; nobody else writes here meanwhile."""
        with locked(self.root):
            self._remove_orphans()
            temporary = self.root / temporary_name("version")
            try:
                with disk_errors_name(self.root):
                    temporary.mkdir()
                    yield temporary
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def remove_orphans(self) -> None:
        """Remove what a killed writer left; every new version does it too.

        Raises: LockedError when another process is writing here.
        """
        if self.root.is_dir():
            with locked(self.root):
                self._remove_orphans()

    def names(self) -> list[str]:
        """The names of all versions that are still here, oldest first; the last one is current.

        Raises: ArtifactError when there is none, or when `CURRENT` is damaged.
        """
        current = int(self._read_current()[0][1:])
        return [self._folder(number).name for number in sorted(self._numbers()) if number <= current]

    def version(self, name: str) -> Version:
        """One of `names`, every byte of it verified; a writer may remove it at any time, unless this is in its block.

        Raises: ArtifactError when anything is damaged.
        """
        path = self.root / name / MANIFEST_NAME
        if not path.is_file():
            raise damaged(path, "it is missing")
        return self._verified(name, sha256_of(path))

    def current(self, *, only: Collection[str] | None = None) -> Version:
        """The current version, every byte of it verified, or of these files only: an index may be large.

        Raises: ArtifactError when there is none, or when anything is damaged.
        """
        while True:
            name, sha256 = self._read_current()
            try:
                return self._verified(name, sha256, only)
            except (ArtifactError, FileNotFoundError) as error:
                if self._read_current() != (name, sha256):
                    continue  # a writer replaced it meanwhile and removed the old one
                if isinstance(error, FileNotFoundError):
                    raise damaged(Path(error.filename), "it is missing") from error
                raise

    def parse_current(self, parse: Callable[[Version], Parsed], *, only: Collection[str] | None = None) -> Parsed:
        """What `parse` makes of the current version, verified; again of a newer one when it was removed meanwhile.

        `only` as in `current`: the files that `parse` reads.

        A version that two newer ones follow is removed, be it while it is parsed. Where a new run takes the place of an
        earlier one, another version takes the same name: then parts of both may have been read.
        Raises: as `current`; what `parse` raises on a version that is still the current one.
        """
        while True:
            version = self.current(only=only)
            try:
                parsed = parse(version)
            except Exception:
                if self.current_sha256() == version.sha256:
                    raise
            else:
                if self.current_sha256() == version.sha256 or is_sealed_as(version.folder, version.sha256):
                    return parsed

    def current_sha256(self) -> str:
        """The identity that `CURRENT` names, empty when there is none; reads that one small file and verifies nothing.

        Raises: ArtifactError when it is damaged.
        """
        there = os.path.lexists(self.root / CURRENT_NAME) or self._is_no_folder() or self._is_noted()
        return self._read_current()[1] if there else ""

    def _verified(self, name: str, sha256: str, only: Collection[str] | None = None) -> Version:
        folder = self.root / name
        if not folder.is_dir() or folder.is_symlink():
            raise damaged(folder, "it is missing")
        return Version(folder, sha256, verify_folder(folder, kind=self.kind, manifest_sha256=sha256, only=only))

    def _read_current(self) -> tuple[str, str]:
        path = self.root / CURRENT_NAME
        if self._is_no_folder():
            raise damaged(self.root, "it is no folder, nor a link to one")
        if not path.is_file():
            if self._is_noted() and not self._numbers():
                raise ArtifactError(f"{self.root} is missing or empty: the {self.kind} lay there.", hint=self._if_lost)
            if self.exists():
                raise damaged(path, "it is missing, though versions are there")
            raise ArtifactError(
                f"{self.root} holds no committed {self.kind} (it has no {CURRENT_NAME}).",
                hint="Is this the right folder, and did the command that makes it finish?",
            )
        if path.is_symlink():
            raise damaged(path, "it is a link")
        with path.open("rb") as file:
            data = file.read(CURRENT_BYTES)
        try:
            body = json.loads(data)
            name, sha256 = str(body["version"]), str(body["manifest_sha256"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise damaged(path, f"it cannot be read ({type(error).__name__})") from error
        if not VERSION_PATTERN.fullmatch(name):
            raise damaged(path, f"it names a version '{name[:40]}'")
        if data != _pointer(name, sha256):
            raise damaged(path, "it is not as it was written")
        return name, sha256

    def _commit(self, temporary: Path, sha256: str, keep: int, keep_bytes: int | None) -> None:
        numbers = self._numbers()
        number = max(numbers, default=0) + 1
        temporary.rename(self._folder(number))
        try:
            fsync_folder(self.root)
            write_bytes(self.root / CURRENT_NAME, _pointer(self._folder(number).name, sha256))
        except BaseException:
            if self._current_number() != number:
                shutil.rmtree(self._folder(number), ignore_errors=True)
            raise
        if self._note and not self._is_noted():
            with contextlib.suppress(OSError):  # it is committed without, and the next version makes the note
                write_bytes(self._note, f"{self.root.name} holds the {self.kind}.\n".encode())
        stay = self._staying(sorted(numbers, reverse=True)[: keep - 1], keep_bytes)
        for old in numbers:
            if old not in stay:
                self._remove(old)

    def _staying(self, newest: list[int], most_bytes: int | None) -> list[int]:
        """Those of the earlier versions, newest first, that have room; the first one always has."""
        if most_bytes is None:
            return newest
        totals = accumulate(_size(self._folder(number)) for number in newest)
        return [
            number for number, total in zip(newest, totals, strict=True) if number == newest[0] or total <= most_bytes
        ]

    def _folder(self, number: int) -> Path:
        return self.root / f"v{number:06d}"

    def _is_noted(self) -> bool:
        """Whether the note says that there were versions."""
        return self._note is not None and os.path.lexists(self._note)

    def _is_no_folder(self) -> bool:
        """Whether something else has the name of the folder, such as a link to a disk that is not there."""
        return os.path.lexists(self.root) and not self.root.is_dir()

    def _numbers(self) -> list[int]:
        if not self.root.is_dir():
            return []
        return [int(path.name[1:]) for path in self.root.iterdir() if VERSION_PATTERN.fullmatch(path.name)]

    def _current_number(self) -> int:
        """The number that `CURRENT` names, 0 when it names none."""
        try:
            return int(self._read_current()[0][1:])
        except ArtifactError:
            return 0

    def _remove(self, number: int) -> None:
        """Remove a version; by way of another name, so that a kill half-way leaves nothing that looks like one."""
        leaving = self.root / temporary_name("version")
        with contextlib.suppress(OSError):
            self._folder(number).rename(leaving)
        shutil.rmtree(leaving, ignore_errors=True)

    def _remove_orphans(self) -> None:
        """Remove temporary files, and versions that were renamed but never committed; only under the lock."""
        remove_temporaries(self.root)
        current, numbers = self._current_number(), self._numbers()
        if current or not self.exists():  # else CURRENT was lost or damaged, and a version may be all there is
            for number in numbers:
                if number > current:
                    self._remove(number)


def _size(folder: Path) -> int:
    """The bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _pointer(name: str, manifest_sha256: str) -> bytes:
    """The content of `CURRENT`."""
    return (json.dumps({"version": name, "manifest_sha256": manifest_sha256}, indent=2) + "\n").encode()
