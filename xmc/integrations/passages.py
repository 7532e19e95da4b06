"""The labels of a run as passages, which is what retrieval for a language model calls them: id, text, metadata.

All adapters to such frameworks stand on this module and differ only in the classes they answer with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from xmc.client import Client
from xmc.errors import ConfigError
from xmc.integrations.metadata_filters import Group, LookedUp
from xmc.retrieve.label_filter import LabelFilter, as_filter
from xmc.retrieve.living_labels import find
from xmc.retrieve.passage_records import PassageRecords, Records
from xmc.retrieve.retriever import Retriever
from xmc.values import Hit, Passage

if TYPE_CHECKING:
    from xmc.data.tables import LabelTable

FILTERS_KEPT = 16
MOST_LOOKS = 3


class Searcher(Protocol):
    """What can be searched: a `Retriever`, a `Client` of a service, or anything with their `search`."""

    def search(self, texts: Sequence[str], *, k: int, min_probability: float | None, allowed: Any) -> list[list[Hit]]:
        """The best k labels of each text."""


class Now(NamedTuple):
    """What is searched, and what is kept beside its labels."""

    searcher: Any
    records: Records

    def named(self, ids: Iterable[str]) -> list[Passage]:
        """The passages of these ids, without those that are not there."""
        labels = self.searcher.labels
        rows = ((label_id, find(labels, label_id)) for label_id in ids)
        return [
            Passage(label_id, labels.texts[row], self.records.metadata(label_id)) for label_id, row in rows if row >= 0
        ]


class Passages:
    """The passages of a run.

    A folder is opened here and followed: before each search it is looked whether something was committed to the run
    since. A retriever that is given stays as it is, and what is kept beside its labels as it is found here. Safe to use
    from several threads. Where it is unpickled the folder is opened again, and is followed there.
    Raises: as `Retriever.load`; ConfigError for what cannot be searched.
    """

    def __init__(self, run: str | Path | Searcher) -> None:
        self._given = run
        self._is_followed = isinstance(run, (str, Path))
        searcher: Any = Retriever.load(run) if isinstance(run, (str, Path)) else run
        if not callable(getattr(searcher, "search", None)):
            raise ConfigError(
                f"a retriever must be a run folder or have the method `search` of xmc.Retriever, got {run!r:.60}."
            )
        opened = getattr(searcher, "opened", None)
        self.records = PassageRecords(opened.run) if opened else None
        self._lock = threading.Lock()
        self._read = self.records.current() if self.records else Records()
        self._now = Now(searcher, self._read.beside(searcher.labels) if opened else self._read)
        self._filters: tuple[Now | None, dict[str, LabelFilter]] = (None, {})

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._given,)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # threads share one, and so can copies

    def now(self) -> Now:
        """What is searched now, and what belongs to its labels. Raises: as `Retriever.reload_if_changed`.

        Labels and records are committed one after the other: they are of one moment if the labels are the same before
        and after the records are read. Under a writer that never pauses they are taken as they are after a few looks;
        then a passage that was replaced twice in between may have its newest metadata beside an older text.
        """
        with self._lock:  # several threads must not all open the same new state
            for _ in range(MOST_LOOKS):
                if not self._has_changed():
                    break
            return self._now

    def _has_changed(self) -> bool:
        """Look whether something was committed since, and open it; whether there was something."""
        if not self._is_followed or self.records is None:
            return False
        searcher, read = self._now.searcher.reload_if_changed(), self.records.current()
        if searcher is self._now.searcher and read is self._read:
            return False
        self._read, self._now = read, Now(searcher, read.beside(searcher.labels))
        return True

    def current(self) -> Any:
        """What is searched now. Raises: as `now`."""
        return self.now().searcher

    def search(
        self,
        text: str,
        *,
        k: int,
        min_probability: float | None = None,
        allowed: Iterable[str] | LabelFilter | None = None,
        keep: Callable[[Passage], bool] | None = None,
    ) -> list[Passage]:
        """The best k passages, of those that are allowed and that `keep` is true of; none where nothing matches.

        `keep` is asked about every passage of the run, but for a `LookedUp`. Raises: as `Retriever.search`;
        ConfigError for `keep` with a searcher that does not hold its labels, and for a filter of other labels than are
        there now.
        """
        now = self.now()
        among = self.among(now, allowed, keep)
        options = {"k": k, "min_probability": min_probability, "allowed": among}
        if isinstance(now.searcher, Client):  # what is kept is where the service is
            (passages,) = now.searcher.search_passages([text], **options)
            return passages
        (hits,) = now.searcher.search([text], **options)
        return found(hits, now.records)

    def among(
        self,
        now: Now,
        allowed: Iterable[str] | LabelFilter | None = None,
        keep: Callable[[Passage], bool] | None = None,
    ) -> Any:
        """The `allowed` of a search: None for all labels."""
        if keep is None:
            return allowed
        labels = labels_of(now.searcher)
        kept = self.looked_up(now, keep)
        if kept is None:
            kept = now.searcher.filter([p.id for p in now.named(labels.ids) if keep(p)])
        return narrowed(kept, as_filter(labels, allowed))

    def looked_up(self, now: Now, keep: Callable[[Passage], bool]) -> LabelFilter | None:
        """A filter on metadata without asking each passage, kept for its next use; None where each must be asked."""
        if not isinstance(keep, LookedUp):
            return None
        searcher, records = now
        of, filters = self._filters
        if of is not now:
            filters = {}
            self._filters = (now, filters)
        kept = filters.get(keep.name)
        if kept is None:
            among = self.group(records)
            group = keep.kept(Group(among.ids & set(searcher.labels.ids), among.bare), records.values)
            if group is None:
                return None
            bare = (i for i in searcher.labels.ids if i not in records.by_id) if group.bare else ()
            kept = searcher.filter([*group.ids, *bare])
            filters[keep.name] = kept
            for oldest in list(filters)[:-FILTERS_KEPT]:
                filters.pop(oldest, None)
        return kept

    def group(self, records: Records) -> Group:
        """All passages that there are, those of records without a label among them."""
        return Group(records.by_id.keys(), bare=True)


def found(hits: Iterable[Hit], records: Records) -> list[Passage]:
    """Hits as passages, with what is kept beside them."""
    return [Passage(hit.label_id, hit.text, records.metadata(hit.label_id), hit) for hit in hits]


def labels_of(searcher: Any) -> LabelTable:
    """The labels that a retriever holds. Raises: ConfigError for another searcher."""
    if not isinstance(searcher, Retriever):
        raise ConfigError(
            f"a filter on metadata needs the run itself, and {type(searcher).__name__} has only its `search`.",
            hint="Give the run folder or a Retriever, or allow label ids.",
        )
    return searcher.labels


def lasting(allowed: Any) -> Any:
    """What may be asked again and again: an iterator, which ends with the first search, as a list.

    >>> lasting(label_id for label_id in "ab")
    ['a', 'b']
    """
    return list(allowed) if isinstance(allowed, Iterator) else allowed


def narrowed(first: LabelFilter, second: LabelFilter | None) -> LabelFilter:
    """The labels that both filters, of one label table, allow."""
    import numpy as np

    return first if second is None else LabelFilter(np.intersect1d(first.label_rows, second.label_rows), first.labels)
