"""A folder of immutable versions with a `CURRENT` pointer: `root/v000001/…`, `root/CURRENT`.

A version is written under a temporary name, hashed, forced to disk, renamed, and only then named by `CURRENT`;
a reader therefore sees the last committed version at any moment, kill −9 included.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmc.errors import ArtifactError
from xmc.store.atomic import TEMPORARY_PREFIX, fsync_file, fsync_folder, temporary_name, write_json
from xmc.store.lock import locked
from xmc.store.manifest import Manifest, build_manifest, damaged, verify_folder

CURRENT_NAME = "CURRENT"


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

    def __init__(self, root: Path, *, kind: str) -> None:
        self.root = Path(root)
        self.kind = kind

    def exists(self) -> bool:
        """Whether a version was ever committed here."""
        return (self.root / CURRENT_NAME).is_file()

    @contextlib.contextmanager
    def new_version(self, *, facts: dict[str, Any] | None = None, keep: int = 2) -> Iterator[Path]:
        """Yield an empty folder to fill; commit it as the new current version when the block ends well.

        `facts` (JSON) go into the manifest; may be filled in the block. The newest `keep` versions stay, older go.
        Raises: LockedError when another process is writing here, OSError when the disk refuses.
        """
        with locked(self.root):
            self._collect_orphans()
            temporary = self.root / temporary_name("version")
            temporary.mkdir()
            try:
                yield temporary
                self._commit(temporary, facts or {}, keep)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def current(self) -> Version:
        """The current version, every byte of it verified.

        Raises: ArtifactError when there is none, or when anything is damaged.
        """
        name, sha256 = self._read_current()
        folder = self.root / name
        if not folder.is_dir() or folder.is_symlink():
            raise damaged(folder, "it is missing")
        return Version(folder, sha256, verify_folder(folder, kind=self.kind, manifest_sha256=sha256))

    def _read_current(self) -> tuple[str, str]:
        path = self.root / CURRENT_NAME
        if not path.is_file():
            raise ArtifactError(
                f"{self.root} holds no committed {self.kind}.",
                hint="Is this the right folder, and did the command that makes it finish?",
            )
        try:
            body = json.loads(path.read_bytes())
            name, sha256 = str(body["version"]), str(body["manifest_sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise damaged(path, f"it cannot be read ({type(error).__name__})") from error
        if not (name.startswith("v") and name[1:].isdigit()):
            raise damaged(path, f"it names a version '{name[:40]}'")
        return name, sha256

    def _commit(self, temporary: Path, facts: dict[str, Any], keep: int) -> None:
        sha256 = build_manifest(temporary, kind=self.kind, facts=facts)
        for path in sorted(temporary.rglob("*"), reverse=True):
            fsync_file(path)
        fsync_folder(temporary)
        numbers = self._numbers()
        name = f"v{max(numbers, default=0) + 1:06d}"
        temporary.rename(self.root / name)
        fsync_folder(self.root)
        write_json(self.root / CURRENT_NAME, {"version": name, "manifest_sha256": sha256})
        for number in sorted(numbers)[: max(0, len(numbers) + 1 - keep)]:
            shutil.rmtree(self.root / f"v{number:06d}", ignore_errors=True)

    def _numbers(self) -> list[int]:
        return [
            int(path.name[1:]) for path in self.root.iterdir() if path.name.startswith("v") and path.name[1:].isdigit()
        ]

    def _collect_orphans(self) -> None:
        """Remove what a killed writer left; only called under the lock, so nobody is still writing it."""
        for path in self.root.glob(f"{TEMPORARY_PREFIX}*"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
