"""The edits of a run's labels for use from Python, one a call: `xmc.add_labels`, `xmc.sync_labels`, …"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from xmc.engine.label_editing import LabelEditor
from xmc.engine.label_versions import LabelsVersion
from xmc.engine.labels_report import LabelsReport
from xmc.engine.passage_editing import PassageEditor
from xmc.values import IndexReport

Metadata = Mapping[str, Mapping[str, Any]] | None


def add_labels(
    run: str | Path, labels: Mapping[str, str], *, vectors: Any = None, metadata: Metadata = None
) -> LabelsReport:
    """Add labels, id to text, to a run; they can be found at once, without building the index anew.

    `vectors`, (N, D) in the order of `labels`, take the place of the embedded texts. `metadata`, dictionaries by label
    id, are kept beside the labels for filters and answers; beside the labels that they leave out nothing is kept. For
    several edits in a row `xmc.LabelEditor` is quicker.
    Raises: DataError, NonFiniteError for labels, vectors or metadata that cannot be; LockedError while another process
    edits.
    """
    return PassageEditor(run).edit("add", labels, metadata, vectors=vectors)


def replace_labels(
    run: str | Path, labels: Mapping[str, str], *, vectors: Any = None, metadata: Metadata = None
) -> LabelsReport:
    """Give labels of a run other texts, or vectors, or metadata; without metadata all that is kept stays.

    Raises: as `add_labels`; DataError for an id that is not there.
    """
    return PassageEditor(run).edit("replace", labels, metadata, vectors=vectors)


def put_labels(
    run: str | Path, labels: Mapping[str, str], *, vectors: Any = None, metadata: Metadata = None
) -> LabelsReport:
    """Add labels to a run, and give those that are there these texts, as `replace_labels`. Raises: as `add_labels`."""
    return PassageEditor(run).edit("put", labels, metadata, vectors=vectors)


def sync_labels(
    run: str | Path,
    labels: Mapping[str, str],
    *,
    vectors: Any = None,
    metadata: Metadata = None,
    most_removed: float = 0.5,
) -> LabelsReport:
    """Make these the labels of a run: put them, and remove all others. Raises: see `LabelEditor.sync`."""
    return PassageEditor(run).edit("sync", labels, metadata, vectors=vectors, most_removed=most_removed)


def remove_labels(run: str | Path, label_ids: Iterable[str], *, missing_ok: bool = False) -> LabelsReport:
    """Remove labels of a run. Raises: DataError for an id that is not there; LockedError while another edits."""
    return LabelEditor(run).remove(label_ids, missing_ok=missing_ok)


def list_labels(run: str | Path) -> dict[str, str]:
    """The labels of a run as they are now, id to text, ascending by id. `sync_labels` takes what it gives."""
    return LabelEditor(run).labels()


def list_label_versions(run: str | Path) -> list[LabelsVersion]:
    """The versions of a run's labels that are still there, oldest first. `rollback_labels` takes their names."""
    return LabelEditor(run).versions()


def rollback_labels(run: str | Path, to: str) -> LabelsReport:
    """Make the labels of a run what they were in an earlier version. Raises: see `LabelEditor.rollback`."""
    return LabelEditor(run).rollback(to)


def compact_labels(run: str | Path, *, device: str = "auto") -> IndexReport:
    """Build the index of a run anew over its whole label set, by the backend that it has."""
    return LabelEditor(run).compact(device=device)
