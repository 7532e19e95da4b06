"""Where things lie in a run folder, and what kind each folder is."""

from __future__ import annotations

from pathlib import Path

from xmc.errors import quoted
from xmc.store import VersionedFolder

ENCODER_KIND = "encoder"
INDEX_KIND = "index"
LABELS_KIND = "label edits"
RERANKER_KIND = "reranker"
PASSAGES_KIND = "passage records"
INDEX_FACTS, INDEX_LABELS = "index.json", "labels.parquet"  # in a version of an index, beside what its backend saves
REPLACEMENT, REPLACEMENT_WHOLE, REPLACEMENT_MOVING = ".next", ".next-whole", ".next-moving"


def work_folder(run: Path) -> Path:
    """Where a training writes: a folder in the run while that is to be replaced, else the run itself."""
    return run / REPLACEMENT if (run / REPLACEMENT).is_dir() else run


def encoder_store(run: Path) -> VersionedFolder:
    """The trained encoder of a run."""
    return VersionedFolder(run / "encoder", kind=ENCODER_KIND)


def index_store(run: Path) -> VersionedFolder:
    """The index of a run."""
    return VersionedFolder(run / "index", kind=INDEX_KIND)


def labels_store(run: Path) -> VersionedFolder:
    """What was added to, replaced in and removed from the labels of a run, where anything was."""
    return _later_part(run, "labels", LABELS_KIND, "To go on with the labels of the index, as if none was edited")


def checks_folder(run: Path) -> Path:
    """The reports of `xmc check`, and below it a folder for each check."""
    return run / "checks"


def fitted_store(run: Path, check: str, kind: str) -> VersionedFolder:
    """Something that a check has fitted to a run."""
    return VersionedFolder(checks_folder(run) / check / kind, kind=kind)


def reranker_store(run: Path) -> VersionedFolder:
    """The fitted second stage of a run, where it has one."""
    otherwise = f"Or fit it again: xmc rerank --run {quoted(run)}. To go on without"
    return _later_part(run, "reranker", RERANKER_KIND, otherwise)


def passages_store(run: Path) -> VersionedFolder:
    """What adapters to retrieval frameworks keep beside the labels of a run, where they keep anything."""
    return _later_part(run, "passages", PASSAGES_KIND, "To go on with no metadata beside the labels")


def _later_part(run: Path, name: str, kind: str, otherwise: str) -> VersionedFolder:
    """A part that not every run has: the encoder's folder, without which none opens, has a note of it."""
    note = run / "encoder" / f"has-{name}"
    if_lost = f"Restore that folder from a copy. {otherwise}: rm {quoted(note)}"
    return VersionedFolder(run / name, kind=kind, note=note, if_lost=if_lost)
