"""Where things lie in a run folder, and what kind each folder is."""

from __future__ import annotations

from pathlib import Path

from xmc.store import VersionedFolder

ENCODER_KIND = "encoder"
INDEX_KIND = "index"


def encoder_store(run: Path) -> VersionedFolder:
    """The trained encoder of a run."""
    return VersionedFolder(run / "encoder", kind=ENCODER_KIND)


def index_store(run: Path) -> VersionedFolder:
    """The index of a run."""
    return VersionedFolder(run / "index", kind=INDEX_KIND)
