"""Commit an edit of a run's labels: one version of `run/labels/`, which readers see all of, or nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xmc.engine.compaction_hint import compaction_hint, warn_of_compaction
from xmc.engine.label_state import Base
from xmc.engine.label_versions import KEPT, KEPT_BYTES
from xmc.engine.labels_report import LabelsReport
from xmc.retrieve.label_edits import ENCODER, LabelEdits, read_edits, save_edits
from xmc.retrieve.layout import labels_store
from xmc.retrieve.living_labels import find, live_labels
from xmc.store.lock import in_turn

Edited = Callable[[LabelEdits], tuple[LabelEdits, int]]  # the edits that are there -> those after, how many changed


class _Unchanged(Exception):  # noqa: N818 - no error
    """An edit changes nothing: no version is committed."""


def commit_edit(run: Path, change: str, edited: Edited, base: Base) -> LabelsReport:
    """Commit what `edited` makes of the edits that are there; between reading and writing nobody else writes.

    Waits for other threads of this process that edit the run. Nothing is committed when `edited` says that it changed
    nothing. An XmcWarning says when it is time to compact.
    Raises: LockedError when another process edits the run.
    """
    store = labels_store(run)
    with in_turn(store.root):
        report = _new_version(run, change, edited, base)
        store.repeat_first(keep=KEPT, keep_bytes=KEPT_BYTES)
    warn_of_compaction(run, report.hint, edited=max(report.added, report.removed), stacklevel=4)
    return report


def report_of(run: Path, base: Base, edits: LabelEdits) -> LabelsReport:
    """The label set of a run with these edits."""
    living = live_labels(base.labels, base.own, edits)
    if living is None:
        return LabelsReport(len(base.labels), len(base.labels), 0, 0)
    added, removed = len(living.added_rows_N), living.removed
    hint = compaction_hint(run, base=len(base.labels), added=added, removed=removed)
    return LabelsReport(len(living.labels), len(base.labels), added, removed, hint)


def _new_version(run: Path, change: str, edited: Edited, base: Base) -> LabelsReport:
    facts: dict[str, Any] = {}
    store = labels_store(run)
    with (
        contextlib.suppress(_Unchanged),
        store.new_version(facts=facts, keep=KEPT, keep_bytes=KEPT_BYTES) as folder,
    ):
        before = read_edits(run)
        after, changed = edited(before)
        if not changed:
            report = report_of(run, base, before)
            raise _Unchanged
        after = replace(after, first={**before.first, **_first(base, after.edits.keys() - before.edits.keys())})
        report = replace(report_of(run, base, after), changed=changed)
        facts |= {ENCODER: after.encoder_sha256, "change": change, "changed": changed, "labels": report.labels}
        facts["at"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        save_edits(folder, after)
    return report


def _first(base: Base, label_ids: Iterable[str]) -> dict[str, str | None]:
    """The texts of labels that were never edited, None for those that are not there."""
    rows = {label_id: find(base.labels, label_id) for label_id in label_ids}
    return {label_id: base.labels.texts[row] if row >= 0 else None for label_id, row in rows.items()}
