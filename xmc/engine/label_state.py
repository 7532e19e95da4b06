"""What holds for each label of a run now: the labels of its index with the edits since."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from xmc.counted import counted
from xmc.data.tables import LabelTable, read_labels
from xmc.errors import DataError, first_few
from xmc.retrieve.label_edits import LabelEdits
from xmc.retrieve.label_means import FILES as MEANS_FILES
from xmc.retrieve.label_means import LabelMeans, load_means
from xmc.retrieve.layout import INDEX_LABELS
from xmc.retrieve.living_labels import find, live_labels
from xmc.retrieve.own_vectors import FILE_NAME as OWN_NAME
from xmc.retrieve.own_vectors import load_own

if TYPE_CHECKING:
    from xmc.store.versions import Version


@dataclass(frozen=True, eq=False)
class Base:
    """The labels that an index was built of; `own` names those with a given vector, and its SHA-256.

    `means` are those that their training queries moved, which it may lack now.
    """

    labels: LabelTable
    own: Mapping[str, str]
    sha256: str
    means: LabelMeans | None = None

    FILES: ClassVar = (INDEX_LABELS, OWN_NAME, *MEANS_FILES)

    @classmethod
    def of(cls, version: Version) -> Base:
        """Those of a version of an index of which these files are verified."""
        labels = read_labels([version.folder / INDEX_LABELS])
        return cls(labels, load_own(version.folder), version.sha256, load_means(version.folder, labels))


@dataclass(frozen=True, eq=False)
class LabelState:
    """The labels of an index and the edits since."""

    base: Base
    edits: LabelEdits

    def now(self, label_id: str) -> tuple[str, str] | None:
        """A label's text and the SHA-256 of its given vector (empty: none), None when it is not there."""
        if edit := self.edits.edits.get(label_id):
            return None if edit.text is None else (edit.text, edit.own)
        row = find(self.base.labels, label_id)
        return (self.base.labels.texts[row], self.base.own.get(label_id, "")) if row >= 0 else None

    def holds(self, label_id: str, text: str, own: str | None) -> bool:
        """Whether a label is there with this text and the given vector of this SHA-256 (empty: none, None: any)."""
        now = self.now(label_id)
        return now is not None and now[0] == text and own in (None, now[1])

    def others(self, label_ids: Collection[str]) -> list[str]:
        """The labels that are there and not among these ids."""
        named = frozenset(label_ids)
        return [label_id for label_id in self._ids() if label_id not in named]

    def texts(self) -> dict[str, str]:
        """Every label's text, ascending by id."""
        found = dict(zip(self.base.labels.ids, self.base.labels.texts, strict=True))
        for label_id, edit in self.edits.edits.items():
            if edit.text is None:
                found.pop(label_id, None)
            else:
                found[label_id] = edit.text
        return dict(sorted(found.items()))

    def changes(self) -> list[dict[str, str]]:
        """What the index lacks, by label id: `added`, `replaced` or `removed`, and the text."""
        rows = []
        for label_id, edit in sorted(self.edits.edits.items()):
            row = find(self.base.labels, label_id)
            if row >= 0 and (edit.text, edit.own) == (self.base.labels.texts[row], self.base.own.get(label_id, "")):
                continue
            if row >= 0 or edit.text is not None:
                change = "added" if row < 0 else "removed" if edit.text is None else "replaced"
                rows.append({"label": label_id, "change": change, "text": edit.text or ""})
        return rows

    def count(self) -> int:
        """How many labels there are."""
        living = live_labels(self.base.labels, self.base.own, self.edits)
        return len(living.labels) if living else len(self.base.labels)

    def require(self, label_ids: Sequence[str], *, there: bool) -> None:
        """Refuse ids unless all of them are there, or none. Raises: DataError naming the first ones."""
        wrong = [label_id for label_id in label_ids if (self.now(label_id) is not None) != there]
        if not wrong:
            return
        if there:
            raise DataError(
                f"{counted(len(wrong), 'label is', 'labels are')} not there: {first_few(wrong)}.",
                hint="All that are: xmc labels export",
            )
        hint = "To give them other texts: xmc labels replace, or xmc labels put, which adds as well."
        raise DataError(
            f"{counted(len(wrong), 'label is', 'labels are')} there already: {first_few(wrong)}.", hint=hint
        )

    def _ids(self) -> Iterator[str]:
        edits = self.edits.edits
        yield from (label_id for label_id in self.base.labels.ids if label_id not in edits)
        yield from (label_id for label_id, edit in edits.items() if edit.text is not None)
