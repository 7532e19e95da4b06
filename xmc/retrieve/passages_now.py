"""The labels of a run and what is kept beside them, of one moment; and filters on it, looked up once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from xmc.retrieve.label_filter import LabelFilter
from xmc.retrieve.living_labels import find
from xmc.retrieve.metadata_columns import MetadataColumns
from xmc.retrieve.passage_records import Records
from xmc.values import Passage

if TYPE_CHECKING:
    from xmc.retrieve.metadata_filters import LookedUp
    from xmc.retrieve.passage_records import PassageRecords

FILTERS_KEPT = 16
MOST_LOOKS = 3


@dataclass(frozen=True, eq=False)
class PassagesNow:
    """What is searched, a `Retriever` or what stands in for one, and what is kept beside its labels.

    `read` are the records as they were committed, of which `records` are those that belong to the texts that are there.
    """

    searcher: Any
    records: Records = field(default_factory=Records)
    read: Records = field(default_factory=Records)
    _filters: dict[tuple[LabelFilter | None, str], LabelFilter] = field(default_factory=dict)
    _columns: MetadataColumns | None = None

    @classmethod
    def of(cls, searcher: Any, read: Records, *, before: PassagesNow | None = None) -> PassagesNow:
        """What belongs together of a retriever and records that were read after it; `before` saves reading all."""
        records = read.beside(searcher.labels, searcher.opened.edits)
        known = before._columns if before else None
        make = MetadataColumns if known is None else known.updated
        return cls(searcher, records, read, _columns=make(searcher.labels, records))

    def newest(self, records: PassageRecords | None) -> PassagesNow:
        """This, or what was committed since; without records that of the labels alone.

        Raises: as `Retriever.reload_if_changed` and `PassageRecords.current`.

        Labels and records are committed one after the other: they are of one moment if the labels are the same before
        and after the records are read. Under a writer that never pauses they are taken as they are after a few looks;
        then a passage that was replaced twice in between may have its newest metadata beside an older text.
        """
        now = self
        for _ in range(MOST_LOOKS):
            searcher, read = now.searcher.reload_if_changed(), records.current() if records else now.read
            if searcher is now.searcher and read is now.read:
                break
            now = self.of(searcher, read, before=now)
        return now

    def named(self, ids: Iterable[str]) -> list[Passage]:
        """The passages of these ids, without those that are not there."""
        labels = self.searcher.labels
        rows = ((label_id, find(labels, label_id)) for label_id in ids)
        return [
            Passage(label_id, labels.texts[row], self.records.metadata(label_id)) for label_id, row in rows if row >= 0
        ]

    def kept(self, keep: LookedUp, among: LabelFilter | None = None) -> LabelFilter | None:
        """The labels that a filter keeps, remembered for its next use; None where each passage must be asked.

        `among` are those of which it is asked, all of them for None.
        """
        name = among, keep.name
        found = self._filters.get(name)
        if found is None:
            labels = self.searcher.labels
            among_L = np.full(len(labels), among is None)
            if among is not None:
                among_L[among.label_rows] = True
            kept_L = keep.kept(among_L, self._columns or MetadataColumns(labels, self.records))
            if kept_L is None:
                return None
            found = LabelFilter(np.flatnonzero(kept_L), labels)
            self._filters[name] = found
            for oldest in list(self._filters)[:-FILTERS_KEPT]:
                self._filters.pop(oldest, None)
        return found
