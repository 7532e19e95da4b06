"""The labels of a run and what is kept beside them, of one moment; and filters on it, looked up once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from xmc.retrieve.living_labels import find
from xmc.retrieve.metadata_filters import Group
from xmc.retrieve.passage_records import Records
from xmc.retrieve.value_index import ValueIndex
from xmc.values import Passage

if TYPE_CHECKING:
    from xmc.retrieve.label_filter import LabelFilter
    from xmc.retrieve.metadata_filters import LookedUp
    from xmc.retrieve.passage_records import PassageRecords

FILTERS_KEPT = 16
MOST_LOOKS = 3


def everything(records: Records) -> Group:
    """All passages that there are, those of records without a label among them."""
    return Group(set(records.by_id), bare=True)


@dataclass(frozen=True, eq=False)
class PassagesNow:
    """What is searched, a `Retriever` or what stands in for one, and what is kept beside its labels.

    `read` are the records as they were committed, of which `records` are those that belong to the texts that are there.
    """

    searcher: Any
    records: Records = field(default_factory=Records)
    read: Records = field(default_factory=Records)
    _filters: dict[tuple[Any, str], LabelFilter] = field(default_factory=dict)
    _asked: dict[Any, Group] = field(default_factory=dict)
    _values: ValueIndex = field(default_factory=lambda: ValueIndex({}))

    @classmethod
    def of(cls, searcher: Any, read: Records, *, before: PassagesNow | None = None) -> PassagesNow:
        """What belongs together of a retriever and records that were read after it; `before` saves reading all."""
        records = read.beside(searcher.labels)
        values = before._values if before else ValueIndex({})
        return cls(searcher, records, read, _values=values.updated(records.all()))

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

    def kept(self, keep: LookedUp, among: Callable[[Records], Group] = everything) -> LabelFilter | None:
        """The labels that a filter keeps, remembered for its next use; None where each passage must be asked.

        `among` tells those of which it is asked.
        """
        name = among, keep.name
        found = self._filters.get(name)
        if found is None:
            these = keep.kept(self._group(among), self._values)
            if these is None:
                return None
            by_id = self.records.by_id
            bare = (label_id for label_id in self.searcher.labels.ids if label_id not in by_id) if these.bare else ()
            found = self.searcher.filter([*these.ids, *bare])
            self._filters[name] = found
            for oldest in list(self._filters)[:-FILTERS_KEPT]:
                self._filters.pop(oldest, None)
        return found

    def _group(self, among: Callable[[Records], Group]) -> Group:
        """Those of a group that have a label, looked up once."""
        if among not in self._asked:
            asked = among(self.records)
            self._asked[among] = Group(asked.ids & set(self.searcher.labels.ids), asked.bare)
        return self._asked[among]
