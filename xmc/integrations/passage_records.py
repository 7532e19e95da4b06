"""What a run keeps beside the text of its passages: metadata, and the collection that a passage was added to.

passages/vNNNNNN/passages.parquet   label_id, collection (empty: none), metadata (a JSON object)

Records are looked up by label id and say nothing about which labels there are: one without a label is passed over.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from xmc.data.shards import read_table, write_table
from xmc.errors import DataError, LockedError
from xmc.integrations.value_index import ValueIndex
from xmc.retrieve.layout import passages_store

if TYPE_CHECKING:
    from xmc.store.versions import Version

FILE = "passages.parquet"


class Record(NamedTuple):
    """What is kept for one label id; `metadata` is JSON."""

    collection: str
    metadata: str


@dataclass(frozen=True, eq=False)
class Records:
    """All records of one committed version; `sha256` names it."""

    by_id: Mapping[str, Record] = field(default_factory=dict)
    sha256: str = ""

    def metadata(self, label_id: str) -> dict[str, Any]:
        """What is kept beside a label, a fresh dictionary; empty where nothing is."""
        record = self.by_id.get(label_id)
        kept: dict[str, Any] = json.loads(record.metadata) if record else {}
        return kept

    @cached_property
    def values(self) -> ValueIndex:
        """The ids by the values of their metadata."""
        return ValueIndex(lambda: ((label_id, record.metadata) for label_id, record in self.by_id.items()))

    def members(self, collection: str) -> list[str]:
        """The ids that were added to a collection."""
        return [label_id for label_id, record in self.by_id.items() if record.collection == collection]


class PassageRecords:
    """The records of a run: each change is one committed version."""

    def __init__(self, run: Path) -> None:
        self._store = passages_store(run)
        self._records = Records()

    def current(self) -> Records:
        """The records as they are committed now; reads one small file when nothing changed.

        Raises: ArtifactError when they are damaged.
        """
        records, committed = self._records, self._store.current_sha256()
        if records.sha256 != committed or (not committed and self._store.exists()):
            records = self._store.parse_current(_parse)
        self._records = records
        return records

    def put(self, metadata: Mapping[str, str], *, collection: str = "", staying: Collection[str] = ()) -> None:
        """Keep metadata, as `to_json` makes it, for these ids, which are in `collection` from then on.

        Those that are `staying` remain in the one that they are in. Raises: LockedError while another process writes.
        """
        self._commit({label_id: Record(collection, text) for label_id, text in metadata.items()}, staying=staying)

    def drop(self, label_ids: Iterable[str]) -> None:
        """Forget what is kept for these ids. Raises: as `put`."""
        gone = set(label_ids) & set(self.current().by_id)
        if gone:
            self._commit({}, gone=gone)

    def _commit(self, new: Mapping[str, Record], *, gone: Iterable[str] = (), staying: Collection[str] = ()) -> None:
        self._new_version(new, gone, staying)
        if len(list(self._store.root.glob("v*"))) == 1:
            # If CURRENT is lost, a second version tells that there was one. The change is committed without it: where
            # the disk refuses it, or another process writes, the next change makes it.
            with contextlib.suppress(LockedError, OSError):
                self._store.repeat()

    def _new_version(self, new: Mapping[str, Record], gone: Iterable[str], staying: Collection[str]) -> None:
        with self._store.new_version() as folder:  # between reading and writing nobody else writes
            before = self.current().by_id
            after = {**before, **new}
            for label_id in new.keys() & before.keys() & set(staying):
                after[label_id] = new[label_id]._replace(collection=before[label_id].collection)
            for label_id in gone:
                after.pop(label_id, None)
            _save(folder, after)


def to_json(metadata: Mapping[str, Any], *, label_id: str) -> str:
    """Metadata as it is kept.

    Raises: DataError when it is no dictionary, or would not come back from JSON as it is: other keys than strings,
    tuples, dates, NaN.

    >>> to_json({"page": 3, "tags": ["a"]}, label_id="x")
    '{"page": 3, "tags": ["a"]}'
    """
    if not isinstance(metadata, Mapping):
        raise DataError(f"the metadata of '{label_id}' must be a dictionary, got {type(metadata).__name__}.")
    kept = dict(metadata)
    try:
        text = json.dumps(kept, ensure_ascii=False, allow_nan=False)
        text.encode()
        if json.loads(text) == kept:
            return text
        problem = "it would come back as another value"
    except (TypeError, ValueError, RecursionError) as error:
        problem = str(error)
    raise DataError(
        f"the metadata of '{label_id}' cannot be kept: {problem}.",
        hint="Values may be texts, numbers, true, false, null, and lists and objects with texts as keys of such.",
    )


def _parse(version: Version) -> Records:
    table = read_table(version.folder / FILE)
    columns = (table.column(name).to_pylist() for name in ("label_id", "collection", "metadata"))
    by_id = {label_id: Record(collection, text) for label_id, collection, text in zip(*columns, strict=True)}
    return Records(by_id, version.sha256)


def _save(folder: Path, by_id: Mapping[str, Record]) -> None:
    import pyarrow as pa

    rows = sorted(by_id.items())
    columns = {
        "label_id": pa.array([label_id for label_id, _ in rows], pa.string()),
        "collection": pa.array([record.collection for _, record in rows], pa.string()),
        "metadata": pa.array([record.metadata for _, record in rows], pa.large_string()),
    }
    write_table(folder / FILE, pa.table(columns))
