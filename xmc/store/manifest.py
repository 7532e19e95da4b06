"""A manifest lists every file of a folder with size and SHA-256; a folder is verified before any parser runs.

Checksums detect damage, not malice: whoever can write the files can write the manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xmc.counted import counted
from xmc.errors import ArtifactError
from xmc.store.atomic import fsync_all, sha256_of, write_bytes

MANIFEST_NAME = "manifest.json"
FORMAT = 1
LARGEST_BYTES = 32 << 20  # names and hashes of 200,000 files


@dataclass(frozen=True)
class Manifest:
    """The files of a folder (relative POSIX path -> (bytes, SHA-256)), its kind, and facts the writer recorded."""

    kind: str
    files: dict[str, tuple[int, str]]
    facts: dict[str, Any]

    def to_bytes(self) -> bytes:
        """Canonical JSON, so that equal folders have equal manifests."""
        files = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in sorted(self.files.items())}
        body = {"format": FORMAT, "kind": self.kind, "facts": self.facts, "files": files}
        return (json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def build_manifest(folder: Path, *, kind: str, facts: dict[str, Any]) -> str:
    """Hash every file under `folder`, write `manifest.json` there and return the manifest's own SHA-256."""
    files = {
        path.relative_to(folder).as_posix(): (path.stat().st_size, sha256_of(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    data = Manifest(kind, files, facts).to_bytes()
    write_bytes(folder / MANIFEST_NAME, data)
    return hashlib.sha256(data).hexdigest()


def seal_folder(folder: Path, *, kind: str, facts: dict[str, Any]) -> str:
    """`build_manifest`, then force everything to the disk, so that the folder can be renamed into its place."""
    sha256 = build_manifest(folder, kind=kind, facts=facts)
    fsync_all(folder)
    return sha256


def verify_folder(
    folder: Path, *, kind: str, manifest_sha256: str | None = None, only: Collection[str] | None = None
) -> Manifest:
    """Check that `folder` holds exactly the files of its manifest, byte for byte, and return the manifest.

    `manifest_sha256`, when given, must be the hash of the manifest itself. With `only` the bytes of these files are
    read, and of the others just the sizes asked.
    Raises: ArtifactError naming the first file that is missing, extra, a link, or of other size or content.
    """
    path = folder / MANIFEST_NAME
    if not path.is_file() or path.is_symlink():
        raise ArtifactError(f"{folder} has no {MANIFEST_NAME}: it was not written by xmc, or not to the end.")
    data = _read(path)
    if manifest_sha256 is not None and hashlib.sha256(data).hexdigest() != manifest_sha256:
        raise damaged(path, "its SHA-256 is not the one recorded")
    manifest = _parse(path, data)
    if manifest.kind != kind:
        raise ArtifactError(f"{folder} holds a '{manifest.kind}', expected a '{kind}'.")
    _require_exact_files(folder, manifest)
    for name, (size, digest) in manifest.files.items():
        file = folder / name
        if file.stat().st_size != size:
            raise damaged(file, f"it has {counted(file.stat().st_size, 'byte')}, expected {size}")
        if (only is None or name in only) and sha256_of(file) != digest:
            raise damaged(file, "its SHA-256 is not the one in the manifest")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder; nothing is compared with it. Raises: ArtifactError when it is missing or damaged."""
    path = folder / MANIFEST_NAME
    try:
        return _parse(path, _read(path))
    except OSError as error:
        raise damaged(path, f"it cannot be read ({type(error).__name__})") from error


def is_sealed_as(folder: Path, manifest_sha256: str) -> bool:
    """Whether the folder has this very manifest; nothing else is looked at."""
    try:
        return hashlib.sha256(_read(folder / MANIFEST_NAME)).hexdigest() == manifest_sha256
    except OSError:
        return False


def _read(path: Path) -> bytes:
    """All of a manifest; of a file that is longer than any, so much that it is refused, and no memory for the rest."""
    with path.open("rb") as file:
        return file.read(LARGEST_BYTES + 1)


def damaged(path: Path, reason: str) -> ArtifactError:
    """The error for a file whose bytes are not those that were committed."""
    return ArtifactError(f"{path} is damaged: {reason}.", hint="Restore it from a copy, or build it again.")


def _parse(path: Path, data: bytes) -> Manifest:
    try:
        body = json.loads(data)
        if body["format"] != FORMAT:
            raise ArtifactError(
                f"{path} has format {body['format']}, this xmc reads format {FORMAT}.",
                hint="Open it with the xmc version that wrote it, or build it again.",
            )
        files = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in body["files"].items()}
        return Manifest(str(body["kind"]), files, dict(body["facts"]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise damaged(path, f"it cannot be read ({type(error).__name__})") from error


def _require_exact_files(folder: Path, manifest: Manifest) -> None:
    present = set()
    for path in folder.rglob("*"):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise damaged(path, "it is a link or a special file")
        if path.is_file():
            present.add(path.relative_to(folder).as_posix())
    present.discard(MANIFEST_NAME)
    if missing := sorted(set(manifest.files) - present):
        raise damaged(folder / missing[0], "it is missing")
    if extra := sorted(present - set(manifest.files)):
        raise damaged(folder / extra[0], "it is not in the manifest")
