"""Add, replace and remove labels of a run without building its index anew; build it anew in the end.

Every call is one committed version of `run/labels/`; readers see the state before it or after it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.data.tables import LabelTable, read_labels
from xmc.engine.compaction_hint import compaction_hint, warn_of_compaction
from xmc.engine.given_labels import check_ids, check_labels, given_vectors
from xmc.engine.indexing import run_indexing
from xmc.engine.run_config import Component, read_run_config
from xmc.errors import DataError, LockedError
from xmc.plugin_manager import Plugins, load_plugins
from xmc.retrieve.edit_vectors import with_edits, with_vectors
from xmc.retrieve.label_edits import ENCODER, Edit, LabelEdits, read_edits, save_edits
from xmc.retrieve.layout import encoder_store, index_store, labels_store
from xmc.retrieve.living_labels import find, live_labels
from xmc.retrieve.opening import fitted_now
from xmc.retrieve.own_vectors import load_own
from xmc.retrieve.row_file import row_hashes
from xmc.retrieve.trained_model import TrainedModel, load_model
from xmc.values import IndexReport

if TYPE_CHECKING:
    from xmc.store.versions import Version

NAMED = 5


@dataclass(frozen=True)
class LabelsReport:
    """The label set of a run: `base` labels in the index, `added` beside it, `removed` (or replaced) from it.

    `hint` says what to do when there is something to do.
    """

    labels: int
    base: int
    added: int
    removed: int
    hint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class _Base:
    """The labels that the current index was built of."""

    labels: LabelTable
    own: Mapping[str, str]
    sha256: str


class LabelEditor:
    """Edits the labels of a run; keeps its model and label table in memory, so that the next edit is quick.

    >>> editor = LabelEditor("runs/a")  # doctest: +SKIP
    >>> editor.add({"X1": "a text"}).added  # doctest: +SKIP
    1
    """

    def __init__(self, run: str | Path, *, plugins: Plugins | None = None) -> None:
        self.run = Path(run)
        self._plugins = plugins
        self._model: TrainedModel | None = None
        self._base: _Base | None = None

    def add(self, labels: Mapping[str, str], *, vectors: Any = None) -> LabelsReport:
        """Add labels, id to text; they can be found at once.

        `vectors`, (N, D) of NumPy or torch, in the order of `labels`, take the place of the embedded texts.
        Raises: DataError when an id is there already, an id or text is empty, and when the run's head knows trained
        labels only; NonFiniteError for a vector that is not finite; LockedError when another process edits the run.
        """
        return self._put(labels, vectors, replacing=False)

    def replace(self, labels: Mapping[str, str], *, vectors: Any = None) -> LabelsReport:
        """Give labels that are there other texts (and vectors, as in `add`).

        Raises: as `add`; DataError when an id is not there.
        """
        return self._put(labels, vectors, replacing=True)

    def remove(self, label_ids: Iterable[str]) -> LabelsReport:
        """Remove labels; they are not found any more.

        Raises: DataError when an id is not there or none would be left; LockedError when another process edits the run.
        """
        ids = check_ids(label_ids)
        base = self._current_base()

        def edited(before: LabelEdits) -> LabelEdits:
            gone = set(_require(ids, base, before, there=True))
            left = _count(base, before) - len(gone)
            if left < 1:
                raise DataError("this would remove all labels of the run; at least one must stay.")
            return with_edits(before, {label_id: Edit(None) for label_id in ids}, before.encoder_sha256)

        return self._commit(edited, base)

    def compact(self, *, device: str = "auto") -> IndexReport:
        """Build the index anew over the whole label set, by the backend it has: a new immutable version.

        Its labels are those of the index that is there with the edits; the data set is not read. Searches go on with
        the old one meanwhile, and labels may be edited. What checks have fitted goes on as far as the answers do; an
        XmcWarning says what does not. Raises: as `xmc.index_run`.
        """
        plugins = self._loaded_plugins()
        config = read_run_config(plugins, self.run)
        facts = _description(self.run)
        options = plugins.find("index", facts["name"]).spec.load()(**facts["options"])
        config = replace(config, index=Component(facts["name"], options))
        labels = self._current_base().labels
        report = run_indexing(config, self.run, plugins=plugins, device=device, labels=labels)
        fitted_now(self.run).warn()
        return report

    def report(self) -> LabelsReport:
        """The label set as it is committed now."""
        return _report(self.run, self._current_base(), read_edits(self.run))

    def changes(self) -> list[dict[str, str]]:
        """What the index lacks, by label id: `added`, `replaced` or `removed`, and the text."""
        base, edits = self._current_base(), read_edits(self.run)
        rows = []
        for label_id in sorted(edits.edits):
            edit, row = edits.edits[label_id], find(base.labels, label_id)
            if row >= 0 and (edit.text, edit.own) == (base.labels.texts[row], base.own.get(label_id, "")):
                continue
            if row >= 0 or edit.text is not None:
                change = "added" if row < 0 else "removed" if edit.text is None else "replaced"
                rows.append({"label": label_id, "change": change, "text": edit.text or ""})
        return rows

    def _put(self, labels: Mapping[str, str], vectors: Any, *, replacing: bool) -> LabelsReport:
        table = check_labels(labels)
        base, model = self._current_base(), self._current_model()
        own_NE = None if vectors is None else given_vectors(vectors, table, model)
        if own_NE is None and replacing:
            _require_text_vectors(model, table)

        def edited(before: LabelEdits) -> LabelEdits:
            before.require_encoder(model.sha256)
            _require(table.ids, base, before, there=replacing)
            hashes = [""] * len(table) if own_NE is None else row_hashes(own_NE)
            rows = zip(table.ids, table.texts, hashes, strict=True)
            new = {label_id: Edit(text, -1, own) for label_id, text, own in rows}
            after = with_edits(before, new, model.sha256, own_NE)
            return with_vectors(after, live_labels(base.labels, base.own, after), model)

        return self._commit(edited, base)

    def _commit(self, edited: Callable[[LabelEdits], LabelEdits], base: _Base) -> LabelsReport:
        after = self._new_version(edited)
        if len(list(labels_store(self.run).root.glob("v*"))) == 1:
            with contextlib.suppress(LockedError):  # another edit does as well
                self._new_version(lambda same: same)  # if CURRENT is lost, a second version tells that there was one
        report = _report(self.run, base, after)
        warn_of_compaction(self.run, report.hint, edited=max(report.added, report.removed), stacklevel=4)
        return report

    def _new_version(self, edited: Callable[[LabelEdits], LabelEdits]) -> LabelEdits:
        """Commit what `edited` makes of the edits that are there; between reading and writing nobody else writes."""
        facts: dict[str, Any] = {}
        with labels_store(self.run).new_version(facts=facts, keep=2) as folder:
            after = edited(read_edits(self.run))
            facts[ENCODER] = after.encoder_sha256
            save_edits(folder, after)
        return after

    def _loaded_plugins(self) -> Plugins:
        self._plugins = self._plugins or load_plugins()
        return self._plugins

    def _current_model(self) -> TrainedModel:
        if self._model is None or self._model.sha256 != encoder_store(self.run).current_sha256():
            self._model = load_model(self.run, plugins=self._loaded_plugins())
        return self._model

    def _current_base(self) -> _Base:
        if self._base is None or self._base.sha256 != index_store(self.run).current_sha256():
            self._base = index_store(self.run).parse_current(_base_of)
        return self._base


def _base_of(version: Version) -> _Base:
    return _Base(read_labels([version.folder / "labels.parquet"]), load_own(version.folder), version.sha256)


def _description(run: Path) -> dict[str, Any]:
    import json

    facts: dict[str, Any] = json.loads((index_store(run).current().folder / "index.json").read_text(encoding="utf-8"))
    return facts


def _report(run: Path, base: _Base, edits: LabelEdits) -> LabelsReport:
    living = live_labels(base.labels, base.own, edits)
    if living is None:
        return LabelsReport(len(base.labels), len(base.labels), 0, 0)
    added, removed = len(living.added_rows_N), living.removed
    hint = compaction_hint(run, base=len(base.labels), added=added, removed=removed)
    return LabelsReport(len(living.labels), len(base.labels), added, removed, hint)


def _is_there(label_id: str, base: _Base, edits: LabelEdits) -> bool:
    edit = edits.edits.get(label_id)
    return edit.text is not None if edit else find(base.labels, label_id) >= 0


def _require(ids: list[str], base: _Base, edits: LabelEdits, *, there: bool) -> list[str]:
    """The ids, all of which are there, or none."""
    wrong = [label_id for label_id in ids if _is_there(label_id, base, edits) != there]
    if wrong:
        shown = ", ".join(f"'{label_id}'" for label_id in wrong[:NAMED])
        more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        problem = "not there" if there else "there already"
        hint = "See: xmc labels list" if there else "To give them other texts: xmc labels replace"
        raise DataError(f"{len(wrong)} labels are {problem}: {shown}{more}.", hint=hint)
    return ids


def _count(base: _Base, edits: LabelEdits) -> int:
    living = live_labels(base.labels, base.own, edits)
    return len(living.labels) if living else len(base.labels)


def _require_text_vectors(model: TrainedModel, table: LabelTable) -> None:
    if not model.knows_any_label:
        raise DataError(
            f"a new text would not change how '{table.ids[0]}' is found: this run's head has a trained vector for each "
            "label.",
            hint="Give vectors with the texts, or train again with the new texts.",
        )
