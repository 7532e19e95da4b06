"""The labels of a run as passages, which is what retrieval for a language model calls them: id, text, metadata.

All adapters to such frameworks stand on this module and differ only in the classes they answer with.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from xmc.client import Client
from xmc.errors import ConfigError
from xmc.retrieve.label_filter import LabelFilter, as_filter
from xmc.retrieve.metadata_filters import LookedUp
from xmc.retrieve.passage_records import PassageRecords, Records
from xmc.retrieve.passages_now import PassagesNow
from xmc.retrieve.retriever import Retriever
from xmc.retrieve.written_filters import write_filter
from xmc.values import Hit, Passage

if TYPE_CHECKING:
    from xmc.data.tables import LabelTable


class Searcher(Protocol):
    """What can be searched: a `Retriever`, a `Client` of a service, or anything with their `search`."""

    def search(self, texts: Sequence[str], *, k: int, min_probability: float | None, allowed: Any) -> list[list[Hit]]:
        """The best k labels of each text."""


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
        self._now = PassagesNow.of(searcher, self.records.current()) if self.records else PassagesNow(searcher)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._given,)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # threads share one, and so can copies

    def now(self) -> PassagesNow:
        """What is searched now, and what belongs to its labels. Raises: as `PassagesNow.newest`."""
        if self._is_followed and self.records:
            with self._lock:  # several threads must not all open the same new state
                self._now = self._now.newest(self.records)
        return self._now

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
        ConfigError for a filter of other labels than are there now, and for `keep` with a searcher that does not hold
        its labels, unless it is a `Client` and the filter can be written down.
        """
        now = self.now()
        options: dict[str, Any] = {"k": k, "min_probability": min_probability}
        remote = isinstance(now.searcher, Client)  # what is kept is where the service is
        filter = write_filter(keep) if remote else None
        if remote and (filter is None) == (keep is None):
            (passages,) = now.searcher.search_passages([text], allowed=allowed, filter=filter, **options)
            return passages
        (hits,) = now.searcher.search([text], allowed=self.among(now, allowed, keep), **options)
        return found(hits, now.records)

    def among(
        self,
        now: PassagesNow,
        allowed: Iterable[str] | LabelFilter | None = None,
        keep: Callable[[Passage], bool] | None = None,
    ) -> Any:
        """The `allowed` of a search: None for all labels."""
        if keep is None:
            return allowed
        labels = labels_of(now.searcher)
        kept = looked_up(now, keep)
        if kept is None:
            kept = now.searcher.filter([p.id for p in now.named(labels.ids) if keep(p)])
        return narrowed(kept, as_filter(labels, allowed))


def looked_up(
    now: PassagesNow, keep: Callable[[Passage], bool], among: LabelFilter | None = None
) -> LabelFilter | None:
    """What a filter on metadata keeps (of some labels), without asking each passage; None where each must be asked."""
    return now.kept(keep, among) if isinstance(keep, LookedUp) else None


def found(hits: Iterable[Hit], records: Records) -> list[Passage]:
    """Hits as passages, with what is kept beside them."""
    return [Passage(hit.label_id, hit.text, records.metadata(hit.label_id), hit) for hit in hits]


def labels_of(searcher: Any) -> LabelTable:
    """The labels that a retriever holds. Raises: ConfigError for another searcher."""
    if not isinstance(searcher, Retriever):
        raise ConfigError(
            f"this filter needs the run itself, and {type(searcher).__name__} has only its `search`.",
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
