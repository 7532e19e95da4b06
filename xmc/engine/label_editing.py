"""Add, replace and remove labels of a run without building its index anew; build it anew in the end.

Every call that changes something is one committed version of `run/labels/`: readers see all of it, or nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from xmc.encode.csr import take_rows
from xmc.engine.component import Component
from xmc.engine.given_labels import check_ids, check_labels, given_vectors
from xmc.engine.indexing import run_indexing
from xmc.engine.label_commit import commit_edit, report_of
from xmc.engine.label_put import LabelPut
from xmc.engine.label_state import Base, LabelState
from xmc.engine.label_versions import LabelsVersion, edits_back, edits_in, versions_of
from xmc.engine.labels_report import LabelsReport
from xmc.engine.run_config import read_run_config
from xmc.errors import ConfigError, DataError, XmcWarning
from xmc.given_numbers import any_number, true_or_false
from xmc.given_paths import given_path
from xmc.plugin_manager import Plugins, given_plugins
from xmc.retrieve.edit_vectors import with_edits, with_vectors, without_direction
from xmc.retrieve.label_edits import Edit, LabelEdits, read_edits
from xmc.retrieve.layout import encoder_store, index_store
from xmc.retrieve.living_labels import live_labels
from xmc.retrieve.passage_records import PassageRecords
from xmc.retrieve.run_plugins import recorded_options
from xmc.retrieve.run_state import description_of, fitted_now
from xmc.retrieve.trained_model import TrainedModel, load_model
from xmc.retrieve.unfinished import require_indexed, require_trained
from xmc.values import IndexReport

BeforeCommit = Callable[[LabelState, bool], None]
NONE_LEFT = "this would remove all labels of the run; at least one must stay."


class LabelEditor:
    """Edits the labels of a run; keeps its model and label table in memory, so that the next edit is quick.

    >>> editor = LabelEditor("runs/a")  # doctest: +SKIP
    >>> editor.add({"X1": "a text"}).added  # doctest: +SKIP
    1
    """

    def __init__(self, run: str | Path, *, plugins: Plugins | None = None) -> None:
        self.run = given_path(run, name="run")
        self._plugins = plugins
        self._model: TrainedModel | None = None
        self._base: Base | None = None

    def __repr__(self) -> str:
        return f"<LabelEditor of {self.run}>"

    def add(self, labels: Mapping[str, str], *, vectors: Any = None) -> LabelsReport:
        """Add labels, id to text; they can be found at once.

        `vectors`, (N, D) of NumPy or torch, in the order of `labels`, take the place of the embedded texts.
        Raises: DataError when an id is there already, an id or text is empty, and when the run's head knows trained
        labels only; NonFiniteError for a vector that is not finite; LockedError when another process edits the run.
        """
        return self._put("add", labels, vectors, there=False)

    def replace(self, labels: Mapping[str, str], *, vectors: Any = None) -> LabelsReport:
        """Give labels that are there other texts (and vectors, as in `add`).

        Raises: as `add`; DataError when an id is not there.
        """
        return self._put("replace", labels, vectors, there=True)

    def put(self, labels: Mapping[str, str], *, vectors: Any = None, first: BeforeCommit | None = None) -> LabelsReport:
        """Add labels, and give those that are there these texts (and vectors); what is equal is left alone.

        `first` is called with what is there, and whether that will change, when nothing is left to refuse and nobody
        else can edit until the commit; what it raises stops the edit. Without it what was kept beside removed labels of
        these ids is dropped.
        Raises: as `add` and `replace`, but for ids that are there or not.
        """
        return self._put("put", labels, vectors, there=None, first=first)

    def sync(
        self,
        labels: Mapping[str, str],
        *,
        vectors: Any = None,
        most_removed: float = 0.5,
        first: BeforeCommit | None = None,
    ) -> LabelsReport:
        """Make these the labels of the run: `put` them, and remove all others, in one version.

        Without `vectors` a label that has this text already is left alone, and keeps a vector that was given for it.
        `first` is that of `put`.
        Raises: as `put`; DataError when more than the share `most_removed` of the labels would go.
        """
        most_removed = any_number(most_removed, name="most_removed")
        if not 0 <= most_removed <= 1:
            raise ConfigError(f"most_removed is a share from 0 to 1, got {most_removed}.")
        return self._put("sync", labels, vectors, there=None, most_removed=most_removed, first=first)

    def remove(self, label_ids: Iterable[str], *, missing_ok: bool = False) -> LabelsReport:
        """Remove labels; they are not found any more. With `missing_ok` those that are not there are passed over.

        Raises: DataError when an id is not there or none would be left; LockedError when another process edits the run.
        """
        ids, missing_ok = check_ids(label_ids), true_or_false(missing_ok, name="missing_ok")
        base = self._current_base()

        def edited(before: LabelEdits) -> tuple[LabelEdits, int]:
            state = LabelState(base, before)
            if not missing_ok:
                state.require(ids, there=True)
            gone = [label_id for label_id in ids if state.now(label_id)]
            if len(gone) == state.count():
                raise DataError(NONE_LEFT)
            return with_edits(before, {label_id: Edit(None) for label_id in gone}, before.encoder_sha256), len(gone)

        return commit_edit(self.run, "remove", edited, base)

    def versions(self) -> list[LabelsVersion]:
        """The versions of the labels that are still there, oldest first; none for a run that was never edited.

        The first one is the state before all edits, which is known as long as the run is there.
        """
        return versions_of(self.run, self._current_base())

    def rollback(self, to: str) -> LabelsReport:
        """Make every label that was edited what it was in an earlier version, by its name in `versions`.

        That is one edit as any other, a new version after all that are there; so it can be taken back, too. Labels that
        were never edited, and the index, stay. Raises: DataError for a version that is not there (any more), or with
        vectors for another encoder; ArtifactError for a damaged one; LockedError when another process edits the run.
        """
        base = self._current_base()
        model = self._current_model(base)

        def edited(before: LabelEdits) -> tuple[LabelEdits, int]:
            then = edits_in(self.run, to)
            back = edits_back(before, then, version=to, encoder_sha256=model.sha256)
            before.require_encoder(model.sha256, replaced=back)
            kept = {label_id: edit for label_id, edit in back.items() if edit.row >= 0}
            after = with_edits(before, {i: edit for i, edit in back.items() if i not in kept}, model.sha256)
            if kept and then.vectors_NE is not None:
                rows_N = torch.tensor([edit.row for edit in kept.values()])
                after = with_edits(after, kept, model.sha256, take_rows(then.vectors_NE, rows_N))
            if not LabelState(base, after).count():
                raise DataError(NONE_LEFT)
            return with_vectors(after, live_labels(base.labels, base.own, after), model), len(back)

        return commit_edit(self.run, f"rollback to {to}", edited, base)

    def compact(self, *, device: str = "auto") -> IndexReport:
        """Build the index anew over the whole label set, by the backend it has: a new immutable version.

        Its labels are those of the index that is there with the edits; the data set is not read. Searches go on with
        the old one meanwhile, and labels may be edited. What checks have fitted goes on as far as the answers do; an
        XmcWarning says what does not. Raises: as `xmc.index_run`.
        """
        plugins = self._loaded_plugins()
        config, base = read_run_config(plugins, self.run), self._current_base()
        facts = description_of(index_store(self.run).current())
        options = recorded_options(plugins, "index", facts)
        config = replace(config, index=Component(facts["name"], options))
        report = run_indexing(config, self.run, plugins=plugins, device=device, labels=base.labels, before=base.sha256)
        fitted_now(self.run).warn()
        return report

    def report(self) -> LabelsReport:
        """The label set as it is committed now."""
        return report_of(self.run, self._current_base(), read_edits(self.run))

    def labels(self) -> dict[str, str]:
        """The whole label set as it is committed now: id to text, ascending by id."""
        return self.state().texts()

    def changes(self) -> list[dict[str, str]]:
        """What the index lacks, by label id: `added`, `replaced` or `removed`, and the text."""
        return self.state().changes()

    def state(self) -> LabelState:
        """What holds for each label as it is committed now."""
        return LabelState(self._current_base(), read_edits(self.run))

    def _put(
        self,
        change: str,
        labels: Mapping[str, str],
        vectors: Any,
        *,
        there: bool | None,
        most_removed: float | None = None,
        first: BeforeCommit | None = None,
    ) -> LabelsReport:
        """Add (`there` is False), replace (True) or either (None); with `most_removed` all others are removed."""
        table = check_labels(labels)
        base = self._current_base()
        model = self._current_model(base)
        own_NE = None if vectors is None else given_vectors(vectors, table, model)
        put = LabelPut(base, model, table, own_NE, there=there, most_removed=most_removed)
        unread: list[str] = []

        def edited(before: LabelEdits) -> tuple[LabelEdits, int]:
            after, new, gone = put.applied(before)
            (first or self._forget_earlier(new))(LabelState(base, before), bool(new or gone))
            unread[:] = without_direction(after, new)
            return after, len(new) + len(gone)

        report = commit_edit(self.run, change, edited, base)
        if not unread:
            return report
        cause = "the encoder knows no word of the text" if vectors is None else "0 is each number of the vector"
        note = f"{cause} of {len(unread):,} of these labels, such as '{unread[0]}', which score 0 with every query."
        warnings.warn(note, XmcWarning, stacklevel=3)
        return replace(report, notes=(note,))

    def _forget_earlier(self, label_ids: Collection[str]) -> BeforeCommit:
        """Drop what is kept for ids that are not there: it was kept beside labels that were removed."""

        def forget(state: LabelState, changes: bool) -> None:
            records = PassageRecords(self.run)
            if records.exist():
                records.drop(label_id for label_id in label_ids if not state.now(label_id))

        return forget

    def _loaded_plugins(self) -> Plugins:
        self._plugins = given_plugins(self._plugins)
        return self._plugins

    def _current_model(self, base: Base) -> TrainedModel:
        """The model, which knows the labels that were moved in this index."""
        if self._model is None or self._model.sha256 != encoder_store(self.run).current_sha256():
            self._model = load_model(self.run, plugins=self._loaded_plugins())
        return replace(self._model, means=base.means)

    def _current_base(self) -> Base:
        require_trained(self.run)  # an edit of a run that is being replaced would go with it
        require_indexed(self.run)
        if self._base is None or self._base.sha256 != index_store(self.run).current_sha256():
            self._base = index_store(self.run).parse_current(Base.of, only=Base.FILES)
        return self._base
