"""The passages of a run that are edited: texts through its label editor, what is kept beside them in its records.

Shapes: N passages, D width of an embedding, E width of an index vector.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmc.counted import counted
from xmc.engine.passage_editing import PassageEditor
from xmc.errors import ConfigError, DataError
from xmc.integrations.passages import Passages, found, looked_up, narrowed
from xmc.retrieve.label_filter import LabelFilter, as_filter
from xmc.retrieve.passage_records import PassageRecords, Records
from xmc.retrieve.passages_now import PassagesNow
from xmc.values import Passage

if TYPE_CHECKING:
    from torch import Tensor


class RunPassages(Passages):
    """The passages of a run, or of one named collection in it: those that were added under that name.

    Ids are those of the run's labels, so a passage is in one collection at most. Edits by several threads of a process
    wait for one another; another process that edits meanwhile is an error.
    """

    records: PassageRecords

    def __init__(self, run: str | Path, *, collection: str = "") -> None:
        if not isinstance(run, (str, Path)):
            raise ConfigError(f"passages are edited in a run folder, got {type(run).__name__}.", hint="Give its path.")
        try:
            collection.encode()
        except (AttributeError, UnicodeEncodeError):
            raise ConfigError(
                f"a collection is named by a text, got {collection!r:.60}.", hint="Leave it out for the whole run."
            ) from None
        super().__init__(run)
        self.run = Path(run)
        self.collection = collection
        self._editor = PassageEditor(self.run)
        self._members: tuple[PassagesNow, LabelFilter] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(type(self), self.run, collection=self.collection), ()

    def add(self, texts: Mapping[str, str], metadata: Mapping[str, Mapping[str, Any]]) -> None:
        """Add passages, id to text, and what is to be kept beside them; an id that is there gets the new ones.

        Raises: as `PassageEditor.put`, which tells more of it.
        """
        self._editor.put(texts, metadata, collection=self.collection)

    def remove(self, ids: Iterable[str]) -> list[str]:
        """Remove passages, and pass over ids that are not there; which were removed.

        Raises: DataError for one text, and when the run would be left without any label; LockedError while another
        process edits.
        """
        require_several(ids)
        with self.records.changing():
            there = [passage.id for passage in self.get(dict.fromkeys(ids))]
            if there:
                self._editor.labels.remove(there, missing_ok=True)
                self.records.drop(there)
            return there

    def get(self, ids: Iterable[str]) -> list[Passage]:
        """The passages of these ids, in their order, without those not there. Raises: DataError for one text."""
        require_several(ids)
        now = self.now()
        return now.named(label_id for label_id in ids if self._has(label_id, now.records))

    def ids(self, keep: Callable[[Passage], bool] | None = None) -> list[str]:
        """The ids of all passages, or of those that `keep` is true of."""
        now = self.now()
        among, label_ids = self.among(now, None, keep), now.searcher.labels.ids
        return list(label_ids) if among is None else [label_ids[row] for row in among.label_rows]

    def among(
        self,
        now: PassagesNow,
        allowed: Iterable[str] | LabelFilter | None = None,
        keep: Callable[[Passage], bool] | None = None,
    ) -> Any:
        """The `allowed` of a search in this collection."""
        if not self.collection:
            return super().among(now, allowed, keep)
        labels = now.searcher.labels
        collection = self._member_filter(now)
        members = narrowed(collection, as_filter(labels, allowed))
        if keep is None:
            return members
        if (kept := looked_up(now, keep, collection)) is not None:
            return narrowed(members, kept)
        ids = [labels.ids[row] for row in members.label_rows]
        return now.searcher.filter([passage.id for passage in now.named(ids) if keep(passage)])

    def search_vector(
        self,
        vector_D: Sequence[float],
        *,
        k: int,
        min_probability: float | None = None,
        allowed: Iterable[str] | LabelFilter | None = None,
        keep: Callable[[Passage], bool] | None = None,
    ) -> list[Passage]:
        """`search` for a query that is embedded already. Raises: as `Retriever.search_vectors`."""
        now, queries_QD = self.now(), _as_query(vector_D)
        among = self.among(now, allowed, keep)
        (hits,) = now.searcher.search_vectors(queries_QD, k=k, min_probability=min_probability, allowed=among)
        return found(hits, now.records)

    def index_vectors(self, query_D: Sequence[float], passages: Sequence[Passage]) -> tuple[Tensor, Tensor]:
        """A query, (E,), and passages, (N, E), as the index compares them; the passages are embedded anew."""
        from xmc.data.tables import LabelTable
        from xmc.encode.csr import concatenate_rows

        retriever = self.current()
        labels = LabelTable([passage.id for passage in passages], [passage.text for passage in passages])
        chunks, query_map = retriever.model.label_vectors(labels)
        vectors_NE = concatenate_rows(list(chunks), dimension=retriever.report.dimension).to_dense()
        query_QD = _as_query(query_D)
        return (query_map.queries(query_QD) if query_map else query_QD)[0], vectors_NE

    def _has(self, label_id: str, records: Records) -> bool:
        """Whether a label of the run is one of these passages."""
        record = records.by_id.get(label_id)
        return not self.collection or (record is not None and record.collection == self.collection)

    def _member_filter(self, now: PassagesNow) -> LabelFilter:
        kept = self._members
        if kept is None or kept[0] is not now:
            members = now.searcher.filter(now.records.members(self.collection), ignore_unknown=True)
            self._members = kept = (now, members)
        return kept[1]


def _as_query(vector_D: Sequence[float]) -> Tensor:
    """A query that is embedded already as the rows that are searched, (1, D). Raises: DataError."""
    import torch

    try:
        return torch.tensor([list(vector_D)], dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"a query vector must be a list of numbers, got {vector_D!r:.60}.", hint="Take that of `embed_query`."
        ) from None


def require_several(given: Iterable[Any] | None, what: str = "ids") -> None:
    """Refuse one text, whose letters would be taken for so many of them. Raises: DataError."""
    if isinstance(given, (str, bytes)):
        raise DataError(f"{what} must be a list, got one text: {given!r:.60}.", hint="Write it in brackets: [text].")


def with_ids(ids: Sequence[str | None] | None, count: int) -> list[str]:
    """An id for each of `count` passages: the given ones, new random ones where there is none.

    Raises: DataError for one text, when there are more or fewer ids than passages, one is no text or stands twice.

    >>> with_ids(["a", "b"], 2)
    ['a', 'b']
    """
    require_several(ids)
    given = list(ids) if ids is not None else [None] * count
    if len(given) != count:
        raise DataError(
            f"there are {counted(len(given), 'id')} for {counted(count, 'text')}; give one for each, or none."
        )
    for label_id in given:
        if not isinstance(label_id, str | None):
            raise DataError(
                f"an id must be a text, got {label_id!r:.60}.", hint="Write str(id), or None for a new one."
            )
    named = [label_id or str(uuid.uuid4()) for label_id in given]
    if len(set(named)) < count:
        twice = next(label_id for label_id, count in Counter(named).items() if count > 1)
        raise DataError(f"the id '{twice}' is given twice.")
    return named
