"""Edit the passages of a run: texts through its label editor, what is kept beside them in its records."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from xmc.engine.given_labels import check_labels, check_metadata
from xmc.engine.label_editing import LabelEditor
from xmc.engine.label_state import LabelState
from xmc.engine.labels_report import LabelsReport
from xmc.errors import DataError
from xmc.retrieve.passage_records import PassageRecords, to_json


class _Edited(Exception):  # noqa: N818 - no error
    """Another process has edited labels that are being put: look again at what is there."""


class PassageEditor:
    """Edits labels with what is kept beside them; `labels` edits the labels alone.

    Edits by several threads of a process wait for one another; another process that edits meanwhile is an error.
    """

    def __init__(self, run: str | Path) -> None:
        self.labels = LabelEditor(run)
        self.records = PassageRecords(self.labels.run)

    def put(
        self,
        texts: Mapping[str, str],
        metadata: Mapping[str, Mapping[str, Any]],
        *,
        there: bool | None = None,
        collection: str = "",
        vectors: Any = None,
    ) -> LabelsReport:
        """Add passages, id to text, and what is to be kept beside them; an id that is there gets the new ones.

        With `there` True all of them must be there, with False none. A passage that is there stays in its collection,
        also where it is edited as one of the whole run; one of a `collection` must be in it. `vectors` are those of
        `LabelEditor.put`; without them a passage that has this text already is left alone, with its given vector.
        Nothing is changed by a call that is refused. What is kept is committed first and the texts second: until then
        readers have what was there before. After a kill in between the same call completes it. Raises: as
        `LabelEditor.put`; DataError for metadata that JSON does not hold, and for an id that is there but not in this
        collection; LockedError while another process changes passages or labels.
        """
        kept = {label_id: to_json(metadata.get(label_id, {}), label_id=label_id) for label_id in texts}
        with self.records.changing():
            while True:
                state = self.labels.state()
                if there is not None:
                    state.require(list(texts), there=there)
                known = {label_id: now[0] for label_id in texts if (now := state.now(label_id))}
                self._require_in(collection, known)
                with contextlib.suppress(_Edited):
                    return self._put(texts, kept, known, state, collection, vectors)

    def sync(
        self,
        texts: Mapping[str, str],
        metadata: Mapping[str, Mapping[str, Any]],
        *,
        most_removed: float = 0.5,
        vectors: Any = None,
    ) -> LabelsReport:
        """Make these the passages of the run: put them, and remove all others with what is kept beside them.

        Raises: as `LabelEditor.sync` and `put`.
        """
        kept = {label_id: to_json(metadata.get(label_id, {}), label_id=label_id) for label_id in texts}

        changed = 0

        def keep(state: LabelState, changes: bool) -> None:
            nonlocal changed
            there = {label_id: now[0] for label_id in texts if (now := state.now(label_id))}
            changed = self.records.put(texts, kept, there=there, edits=state.edits, edited=changes)

        with self.records.changing():
            report = self.labels.sync(texts, vectors=vectors, most_removed=most_removed, first=keep)
            self.records.drop(self.records.current().by_id.keys() - texts.keys())
            return replace(report, changed_metadata=changed)

    def _put(
        self,
        texts: Mapping[str, str],
        kept: Mapping[str, str],
        known: Mapping[str, str],
        state: LabelState,
        collection: str,
        vectors: Any,
    ) -> LabelsReport:
        """Put passages, where `known` has the texts of those in `state`. Raises: _Edited if it has no more."""
        other = {i: text for i, text in texts.items() if vectors is not None or (i, text) not in known.items()}
        changed = 0

        def keep(now: LabelState, changes: bool) -> None:
            nonlocal changed
            for label_id in other:
                text, _ = now.now(label_id) or (None, "")
                if text != known.get(label_id):
                    raise _Edited
            changed = self.records.put(texts, kept, there=known, edits=now.edits, edited=changes, collection=collection)

        if other:
            report = self.labels.put(other, vectors=vectors, first=keep)
            return replace(report, changed_metadata=changed)
        changed = self.records.put(texts, kept, there=known, edits=state.edits, edited=False, collection=collection)
        return replace(self.labels.report(), changed_metadata=changed)

    def edit(
        self,
        action: str,
        texts: Mapping[str, str],
        metadata: Mapping[str, Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> LabelsReport:
        """`add`, `put`, `replace` or `sync` with what is to be kept beside the texts; all that is kept stays for None.

        Raises: as `put`, `sync` and `LabelEditor`; DataError for metadata of other labels than these.
        """
        if metadata is None:
            report: LabelsReport = getattr(self.labels, action)(texts, **options)
            return report
        check_metadata(check_labels(texts).ids, metadata)
        if action == "sync":
            return self.sync(texts, metadata, **options)
        return self.put(texts, metadata, there={"add": False, "replace": True}.get(action), **options)

    def remove(self, label_ids: Collection[str]) -> LabelsReport:
        """Remove passages with what is kept beside them. Raises: as `LabelEditor.remove` and `put`."""
        with self.records.changing() if self.records.exist() else contextlib.nullcontext():
            report = self.labels.remove(label_ids)
            self.records.drop(label_ids)
            return report

    def _require_in(self, collection: str, label_ids: Iterable[str]) -> None:
        """Refuse labels that are there but in no or another collection than this. Raises: DataError."""
        by_id = self.records.current().by_id if collection else {}
        strangers = [i for i in label_ids if collection and (i not in by_id or by_id[i].collection != collection)]
        if strangers:
            raise DataError(
                f"the run has the label '{min(strangers)}', which is not in the collection '{collection}'.",
                hint="Take another id, or edit it without a collection.",
            )
